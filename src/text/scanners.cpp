#include "text/scanners.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "text/unicode.h"

namespace trireme::text {
namespace {

constexpr std::size_t kNoMatch = std::numeric_limits<std::size_t>::max();

/// The character at a place of the text, with its classes; at the end of the text a character of no
/// class and no length.
struct Char {
  char32_t code_point = 0;
  std::uint16_t classes = 0;
  std::size_t begin = 0;
  std::size_t end = 0;

  bool is(unsigned mask) const { return (classes & mask) != 0; }
  bool is_there() const { return end > begin; }
  /// In the text and in none of the classes.
  bool is_none_of(unsigned mask) const { return is_there() && !is(mask); }
};

Char char_at(std::string_view text, std::size_t position) {
  if (position >= text.size()) return {0, 0, position, position};
  std::size_t end = position;
  const char32_t code_point = next_code_point(text, end);
  return {code_point, char_classes(code_point), position, end};
}

/// End of the run of characters with a class of `mask`, at most `max_characters` of them.
std::size_t run_end(std::string_view text, std::size_t position, unsigned mask,
                    int max_characters = std::numeric_limits<int>::max()) {
  for (int count = 0; count < max_characters; ++count) {
    const Char c = char_at(text, position);
    if (!c.is(mask)) break;
    position = c.end;
  }
  return position;
}

/// End of the run of characters that have no class of `mask`.
std::size_t run_end_without(std::string_view text, std::size_t position, unsigned mask) {
  for (Char c = char_at(text, position); c.is_none_of(mask); c = char_at(text, position)) {
    position = c.end;
  }
  return position;
}

/// 's 't 're 've 'm 'll 'd behind the apostrophe at `position`; kNoMatch if none is there. Without
/// case, the long s (U+017F) is an s, as case folding has it.
std::size_t contraction_end(std::string_view text, std::size_t position, bool any_case) {
  if (position >= text.size() || text[position] != '\'') return kNoMatch;
  const auto letter = [&](std::size_t at) {
    if (at >= text.size()) return '\0';
    const char c = text[at];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(position + 1);
  const char second = letter(position + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return position + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return position + 3;
  if (first == 'l' && second == 'l') return position + 3;
  if (any_case && text.substr(position + 1, 2) == "\u017F") return position + 3;
  return kNoMatch;
}

/// \s+(?!\S)|\s+ on a character that is white space: all of a run at the end of the text, else the
/// run without its last character, which goes with what follows (a run of one is taken whole).
std::size_t spaces_end(std::string_view text, std::size_t position) {
  std::size_t end = run_end(text, position, kSpace);
  if (end == text.size()) return end;
  std::size_t last = end;
  previous_code_point(text, last);
  return last > position ? last : end;
}

/// \s*[\r\n]+|\s+(?!\S)|\s+ on a character that is white space: up to the last newline of the run.
std::size_t lines_or_spaces_end(std::string_view text, std::size_t position) {
  const std::size_t end = run_end(text, position, kSpace);
  const std::size_t newline = text.substr(position, end - position).find_last_of("\r\n");
  return newline != std::string_view::npos ? position + newline + 1 : spaces_end(text, position);
}

/// ` ?[X]+` where X is what `in_class` accepts and `run` consumes.
template <typename InClass, typename Run>
std::size_t after_optional_blank(std::string_view text, const Char& c, InClass in_class, Run run) {
  if (in_class(c)) return run(c.begin);
  if (c.code_point != ' ') return kNoMatch;
  return in_class(char_at(text, c.end)) ? run(c.end) : kNoMatch;
}

/// ` ?[^\s\p{L}\p{N}]+` and then any of `trailing`.
std::size_t others_end(std::string_view text, const Char& c, std::string_view trailing) {
  constexpr unsigned kNot = kSpace | kLetter | kNumber;
  const std::size_t end = after_optional_blank(
      text, c, [](const Char& x) { return x.is_none_of(kNot); },
      [&](std::size_t from) { return run_end_without(text, from, kNot); });
  if (end == kNoMatch || trailing.empty()) return end;
  return std::min(text.find_first_not_of(trailing, end), text.size());
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+`
std::size_t prefixed_letters_end(std::string_view text, const Char& c) {
  if (c.is(kLetter)) return run_end(text, c.begin, kLetter);
  if (c.is(kNewline | kNumber) || !char_at(text, c.end).is(kLetter)) return kNoMatch;
  return run_end(text, c.end, kLetter);
}

std::size_t scan_gpt2(std::string_view text, std::size_t position) {
  const Char c = char_at(text, position);
  if (const std::size_t end = contraction_end(text, position, false); end != kNoMatch) return end;
  for (const unsigned mask : {unsigned{kLetter}, unsigned{kNumber}}) {
    const std::size_t end = after_optional_blank(
        text, c, [=](const Char& x) { return x.is(mask); },
        [=](std::size_t from) { return run_end(text, from, mask); });
    if (end != kNoMatch) return end;
  }
  if (const std::size_t end = others_end(text, c, ""); end != kNoMatch) return end;
  return spaces_end(text, position);
}

template <int kMaxDigits>
std::size_t scan_llama3(std::string_view text, std::size_t position) {
  const Char c = char_at(text, position);
  if (const std::size_t end = contraction_end(text, position, true); end != kNoMatch) return end;
  if (const std::size_t end = prefixed_letters_end(text, c); end != kNoMatch) return end;
  if (c.is(kNumber)) return run_end(text, position, kNumber, kMaxDigits);
  if (const std::size_t end = others_end(text, c, "\r\n"); end != kNoMatch) return end;
  return lines_or_spaces_end(text, position);
}

/// `[U]*[W]+` from `position`, U upper-case or other, W lower-case or other; kNoMatch if none.
std::size_t ends_in_lower(std::string_view text, std::size_t position) {
  const std::size_t upper_end = run_end(text, position, kUpperOrOther);
  if (char_at(text, upper_end).is(kLowerOrOther)) return run_end(text, upper_end, kLowerOrOther);
  // [U]* gives back characters until [W]+ can take one.
  for (std::size_t end = upper_end; end > position;) {
    const std::size_t behind = end;
    if ((char_classes(previous_code_point(text, end)) & kLowerOrOther) != 0) return behind;
  }
  return kNoMatch;
}

/// `[U]+[W]*` from `position`; kNoMatch if none.
std::size_t begins_with_upper(std::string_view text, std::size_t position) {
  const std::size_t upper_end = run_end(text, position, kUpperOrOther);
  return upper_end > position ? run_end(text, upper_end, kLowerOrOther) : kNoMatch;
}

/// The two word alternatives of o200k, without the contraction.
std::size_t cased_word_end(std::string_view text, const Char& c) {
  const bool may_prefix = c.is_none_of(kNewline | kLetter | kNumber);
  for (const auto word_end : {ends_in_lower, begins_with_upper}) {
    if (may_prefix) {
      if (const std::size_t end = word_end(text, c.end); end != kNoMatch) return end;
    }
    if (c.is(kLetter | kMark)) {
      if (const std::size_t end = word_end(text, c.begin); end != kNoMatch) return end;
    }
  }
  return kNoMatch;
}

template <bool kContractions, int kMaxDigits>
std::size_t scan_o200k(std::string_view text, std::size_t position) {
  const Char c = char_at(text, position);
  if (const std::size_t end = cased_word_end(text, c); end != kNoMatch) {
    const std::size_t longer = kContractions ? contraction_end(text, end, true) : kNoMatch;
    return longer != kNoMatch ? longer : end;
  }
  if (c.is(kNumber)) return run_end(text, position, kNumber, kMaxDigits);
  if (const std::size_t end = others_end(text, c, "\r\n/"); end != kNoMatch) return end;
  return lines_or_spaces_end(text, position);
}

template <int kMaxDigits>
std::size_t scan_numbers(std::string_view text, std::size_t position) {
  return run_end(text, position, kNumber, kMaxDigits);
}

/// The Han, Hiragana and Katakana ranges that DeepSeek keeps apart.
std::size_t scan_deepseek_cjk(std::string_view text, std::size_t position) {
  const auto is_member = [](char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
  };
  while (position < text.size()) {
    const Char c = char_at(text, position);
    if (!is_member(c.code_point)) break;
    position = c.end;
  }
  return position;
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::size_t scan_deepseek_words(std::string_view text, std::size_t position) {
  const Char c = char_at(text, position);
  if (c.code_point < 128 && c.is(kPunctuation | kSymbol)) {
    std::size_t end = c.end;
    while (end < text.size() && is_ascii_letter(text[end])) ++end;
    if (end > c.end) return end;
  }
  if (c.is(kLetter | kMark)) return run_end(text, position, kLetter | kMark);
  if (c.is_none_of(kNewline | kPunctuation | kSymbol) && char_at(text, c.end).is(kLetter | kMark)) {
    return run_end(text, c.end, kLetter | kMark);
  }
  const std::size_t end = after_optional_blank(
      text, c, [](const Char& x) { return x.is(kPunctuation | kSymbol); },
      [&](std::size_t from) { return run_end(text, from, kPunctuation | kSymbol); });
  if (end != kNoMatch) return std::min(text.find_first_not_of("\r\n", end), text.size());
  return c.is(kSpace) ? lines_or_spaces_end(text, position) : position;
}

struct Known {
  std::string_view pattern;
  Scanner scanner;
};

constexpr std::array kKnown = {
    Known{kGpt2Pattern, scan_gpt2},
    Known{R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", scan_gpt2},
    Known{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
          R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
          scan_llama3<3>},
    Known{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
          R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
          scan_llama3<1>},
    Known{R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
          R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
          R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
          R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
          R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
          scan_o200k<true, 3>},
    Known{R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
          R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
          R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
          scan_o200k<false, 1>},
    Known{R"(\p{N}{1,3})", scan_numbers<3>},
    Known{R"(\p{N})", scan_numbers<1>},
    Known{"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+", scan_deepseek_cjk},
    // DeepSeek-V3 writes carriage return and line feed as the characters themselves.
    Known{"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
          "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
          "\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
          scan_deepseek_words},
};

}  // namespace

Scanner known_scanner(std::string_view pattern) {
  for (const Known& known : kKnown) {
    if (known.pattern == pattern) return known.scanner;
  }
  return nullptr;
}

std::size_t scan_one_number(std::string_view text, std::size_t position) {
  return run_end(text, position, kNumber, 1);
}

std::size_t scan_one_punctuation(std::string_view text, std::size_t position) {
  const Char c = char_at(text, position);
  const bool is_match = c.is(kPunctuation) || (c.code_point < 128 && c.is(kSymbol));
  return is_match ? c.end : position;
}

std::size_t scan_one_space(std::string_view text, std::size_t position) {
  return run_end(text, position, kSpace, 1);
}

std::size_t scan_words(std::string_view text, std::size_t position) {
  const auto kind = [](const Char& c) {
    return is_word_character(c.code_point) ? 1 : c.is(kSpace) ? 0 : 2;
  };
  const int first = kind(char_at(text, position));
  if (first == 0) return position;
  for (Char c = char_at(text, position); c.is_there() && kind(c) == first;
       c = char_at(text, position)) {
    position = c.end;
  }
  return position;
}

}  // namespace trireme::text
