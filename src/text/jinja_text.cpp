#include "text/jinja_text.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

constexpr std::size_t kNowhere = std::string_view::npos;

bool begins_code_point(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// The characters to strip; sorted, so that a long set costs little for each character of the text.
class CharacterSet {
 public:
  explicit CharacterSet(std::optional<std::string_view> set) : is_white_space_(!set) {
    for (std::size_t at = 0; set && at < set->size();) {
      characters_.push_back(next_code_point(*set, at));
    }
    std::sort(characters_.begin(), characters_.end());
  }
  bool contains(char32_t code_point) const {
    if (is_white_space_) return is_space(code_point);
    return std::binary_search(characters_.begin(), characters_.end(), code_point);
  }

 private:
  bool is_white_space_;
  std::vector<char32_t> characters_;
};

bool ends_line(char32_t code_point) {
  return (code_point >= 0x0A && code_point <= 0x0D) || (code_point >= 0x1C && code_point <= 0x1E) ||
         code_point == 0x85 || code_point == 0x2028 || code_point == 0x2029;
}

// Each piece becomes a value: too many are refused before they take memory.
void add_piece(Budget& budget, Pieces& pieces, std::string_view piece) {
  constexpr std::size_t kValueBytes = 32;
  pieces.push_back(piece);
  budget.require(pieces.size(), kValueBytes);
}

Pieces split_words_from_left(Budget& budget, std::string_view text, std::size_t max_splits) {
  const CharacterSet white_space(std::nullopt);
  Pieces pieces;
  std::size_t begin = kNowhere;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    const bool space = white_space.contains(next_code_point(text, at));
    if (!space && begin == kNowhere) {
      begin = here;
      if (pieces.size() == max_splits) break;
    } else if (space && begin != kNowhere) {
      add_piece(budget, pieces, text.substr(begin, here - begin));
      begin = kNowhere;
    }
  }
  if (begin != kNowhere) add_piece(budget, pieces, text.substr(begin));
  return pieces;
}

Pieces split_words_from_right(Budget& budget, std::string_view text, std::size_t max_splits) {
  Pieces pieces;
  std::string_view rest = strip(budget, text, std::nullopt, {.left = false});
  while (!rest.empty() && pieces.size() < max_splits) {
    std::size_t begin = rest.size();
    for (std::size_t at = rest.size(); at > 0;) {
      const char32_t code_point = previous_code_point(rest, at);
      if (is_space(code_point)) break;
      begin = at;
    }
    add_piece(budget, pieces, rest.substr(begin));
    rest = strip(budget, rest.substr(0, begin), std::nullopt, {.left = false});
  }
  if (!rest.empty()) add_piece(budget, pieces, rest);
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

// From the right the text is searched backwards, mirrored, so that it stays linear.
Pieces split_from_right(Budget& budget, std::string_view text, std::string_view separator,
                        std::size_t max_splits) {
  const std::string mirrored_text(text.rbegin(), text.rend());
  const std::string mirrored_separator(separator.rbegin(), separator.rend());
  Pieces pieces;
  std::size_t begin = 0;
  while (pieces.size() < max_splits) {
    const std::size_t found = find_text(mirrored_text, mirrored_separator, begin);
    if (found == kNowhere) break;
    add_piece(budget, pieces, text.substr(text.size() - found, found - begin));
    begin = found + separator.size();
  }
  add_piece(budget, pieces, text.substr(0, text.size() - begin));
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

// The empty text stands before each character and at the end.
std::string replace_empty(std::string_view text, std::string_view to, std::size_t count) {
  std::string result;
  for (std::size_t idx = 0; idx < text.size(); ++idx) {
    if (begins_code_point(text[idx]) && count > 0) {
      result += to;
      --count;
    }
    result += text[idx];
  }
  if (count > 0) result += to;
  return result;
}

}  // namespace

std::size_t count_code_points(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_code_point));
}

std::size_t byte_offset(std::string_view text, std::size_t idx) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (begins_code_point(text[at]) && idx-- == 0) return at;
  }
  return text.size();
}

std::string_view clip(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  std::size_t end = max_bytes;
  while (end > 0 && !begins_code_point(text[end])) --end;
  return text.substr(0, end);
}

bool is_space(char32_t code_point) {
  if (code_point < 0x80) {
    return code_point == ' ' || (code_point >= 0x09 && code_point <= 0x0D) ||
           (code_point >= 0x1C && code_point <= 0x1F);
  }
  return u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0;
}

bool is_printable(char32_t code_point) {
  if (code_point < 0x7F) return code_point >= ' ';
  constexpr std::uint32_t kHidden = U_GC_C_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & kHidden) == 0;
}

bool is_upper(std::string_view text) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto code_point = static_cast<UChar32>(next_code_point(text, at));
    if (u_isULowercase(code_point) || u_istitle(code_point)) return false;
    any = any || u_isUUppercase(code_point);
  }
  return any;
}

bool is_lower(std::string_view text) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto code_point = static_cast<UChar32>(next_code_point(text, at));
    if (u_isUUppercase(code_point) || u_istitle(code_point)) return false;
    any = any || u_isULowercase(code_point);
  }
  return any;
}

std::string_view strip(Budget& budget, std::string_view text, std::optional<std::string_view> set,
                       Sides sides) {
  if (set) budget.spend(set->size());
  const CharacterSet stripped(set);
  const std::size_t size_before = text.size();
  while (sides.left && !text.empty()) {
    std::size_t at = 0;
    if (!stripped.contains(next_code_point(text, at))) break;
    text.remove_prefix(at);
  }
  while (sides.right && !text.empty()) {
    std::size_t at = text.size();
    if (!stripped.contains(previous_code_point(text, at))) break;
    text.remove_suffix(text.size() - at);
  }
  budget.spend_characters(size_before - text.size());
  return text;
}

Pieces split_words(Budget& budget, std::string_view text, std::size_t max_splits, bool from_right) {
  budget.spend_characters(text.size());
  return from_right ? split_words_from_right(budget, text, max_splits)
                    : split_words_from_left(budget, text, max_splits);
}

Pieces split(Budget& budget, std::string_view text, std::string_view separator,
             std::size_t max_splits, bool from_right) {
  budget.spend_characters(text.size());
  if (separator.empty()) fail(ErrorKind::input, "split: the separator is empty");
  if (from_right) return split_from_right(budget, text, separator, max_splits);
  Pieces pieces;
  std::size_t begin = 0;
  while (pieces.size() < max_splits) {
    const std::size_t found = find_text(text, separator, begin);
    if (found == kNowhere) break;
    add_piece(budget, pieces, text.substr(begin, found - begin));
    begin = found + separator.size();
  }
  add_piece(budget, pieces, text.substr(begin));
  return pieces;
}

Pieces split_lines(Budget& budget, std::string_view text) {
  budget.spend_characters(text.size());
  Pieces lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t code_point = next_code_point(text, at);
    if (!ends_line(code_point)) continue;
    add_piece(budget, lines, text.substr(begin, end - begin));
    if (code_point == '\r' && at < text.size() && text[at] == '\n') ++at;
    begin = at;
  }
  if (begin < text.size()) add_piece(budget, lines, text.substr(begin));
  return lines;
}

std::size_t find_text(std::string_view text, std::string_view wanted, std::size_t from) {
  if (from > text.size()) return kNowhere;
  if (wanted.empty()) return from;
  // memmem is linear in glibc; string_view::find is not. It is asked for one window after the
  // other, since a sanitizer's memmem first checks all that it is given.
  std::size_t window = 1024 + 2 * wanted.size();
  while (text.size() - from >= wanted.size()) {
    const std::size_t size = std::min(window, text.size() - from);
    const void* found = memmem(text.data() + from, size, wanted.data(), wanted.size());
    if (found != nullptr) {
      return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    }
    from += size - wanted.size() + 1;
    window *= 2;
  }
  return kNowhere;
}

std::size_t count(Budget& budget, std::string_view text, std::string_view wanted) {
  budget.spend_search(text.size() + wanted.size());
  if (wanted.empty()) return count_code_points(text) + 1;
  std::size_t total = 0;
  for (std::size_t at = find_text(text, wanted); at != kNowhere;
       at = find_text(text, wanted, at + wanted.size())) {
    ++total;
  }
  budget.spend(total);
  return total;
}

std::string replace(Budget& budget, std::string_view text, std::string_view from,
                    std::string_view to, std::size_t max_count) {
  const std::size_t total = std::min(max_count, count(budget, text, from));
  if (total == 0) return std::string(text);
  budget.require(total, to.size());
  const std::size_t size = text.size() + total * to.size() - total * from.size();
  budget.require(size);
  budget.spend_bytes(size);
  if (from.empty()) return replace_empty(text, to, total);
  std::string result;
  result.reserve(size);
  std::size_t begin = 0;
  for (std::size_t done = 0; done < total; ++done) {
    const std::size_t found = find_text(text, from, begin);
    result.append(text.substr(begin, found - begin)).append(to);
    begin = found + from.size();
  }
  return result.append(text.substr(begin));
}

std::string escape_html(Budget& budget, std::string_view text) {
  budget.spend_characters(text.size());
  std::string result;
  for (const char byte : text) {
    switch (byte) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '"':
        result += "&#34;";
        break;
      default:
        result += byte;
    }
    if (result.size() > kMaxValueBytes) budget.require(result.size());
  }
  return result;
}

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view shortest(buffer, static_cast<std::size_t>(end.ptr - buffer));
  const std::size_t e = shortest.find('e');
  int exponent = 0;
  const char* exponent_begin = shortest.data() + e + 1 + (shortest[e + 1] == '+' ? 1 : 0);
  std::from_chars(exponent_begin, end.ptr, exponent);
  // Python's bounds for the plain spelling.
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  char plain[32];
  const auto plain_end =
      std::to_chars(plain, plain + sizeof plain, value, std::chars_format::fixed);
  std::string result(plain, plain_end.ptr);
  if (result.find('.') == std::string::npos) result += ".0";
  return result;
}

}  // namespace trireme::text::jinja
