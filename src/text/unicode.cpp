#include "text/unicode.h"

#include <unicode/uchar.h>

#include <array>
#include <cstring>

namespace trireme::text {
namespace {

constexpr std::uint16_t classes_of_type(int type) {
  switch (type) {
    case U_UPPERCASE_LETTER:
    case U_TITLECASE_LETTER:
      return kLetter | kUpperOrOther;
    case U_LOWERCASE_LETTER:
      return kLetter | kLowerOrOther;
    case U_MODIFIER_LETTER:
    case U_OTHER_LETTER:
      return kLetter | kUpperOrOther | kLowerOrOther;
    case U_NON_SPACING_MARK:
    case U_ENCLOSING_MARK:
    case U_COMBINING_SPACING_MARK:
      return kMark | kUpperOrOther | kLowerOrOther;
    case U_DECIMAL_DIGIT_NUMBER:
    case U_LETTER_NUMBER:
    case U_OTHER_NUMBER:
      return kNumber;
    case U_SPACE_SEPARATOR:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
      return kSpace;
    case U_DASH_PUNCTUATION:
    case U_START_PUNCTUATION:
    case U_END_PUNCTUATION:
    case U_CONNECTOR_PUNCTUATION:
    case U_OTHER_PUNCTUATION:
    case U_INITIAL_PUNCTUATION:
    case U_FINAL_PUNCTUATION:
      return kPunctuation;
    case U_MATH_SYMBOL:
    case U_CURRENCY_SYMBOL:
    case U_MODIFIER_SYMBOL:
    case U_OTHER_SYMBOL:
      return kSymbol;
    default:
      return 0;
  }
}

constexpr std::array<std::uint16_t, U_CHAR_CATEGORY_COUNT> kClassesOfType = [] {
  std::array<std::uint16_t, U_CHAR_CATEGORY_COUNT> table{};
  for (int type = 0; type < U_CHAR_CATEGORY_COUNT; ++type) table[type] = classes_of_type(type);
  return table;
}();

constexpr std::array<std::uint16_t, 128> kAsciiClasses = [] {
  std::array<std::uint16_t, 128> table{};
  for (int c = 'A'; c <= 'Z'; ++c) table[c] = classes_of_type(U_UPPERCASE_LETTER);
  for (int c = 'a'; c <= 'z'; ++c) table[c] = classes_of_type(U_LOWERCASE_LETTER);
  for (int c = '0'; c <= '9'; ++c) table[c] = kNumber;
  for (const char c : std::string_view("!\"#%&'()*,-./:;?@[\\]_{}")) table[c] = kPunctuation;
  for (const char c : std::string_view("$+<=>^`|~")) table[c] = kSymbol;
  for (const char c : std::string_view(" \t\v\f")) table[c] = kSpace;
  for (const char c : std::string_view("\r\n")) table[c] = kSpace | kNewline;
  return table;
}();

// Number of bytes that may follow `lead`, and the range of the first of them (Unicode table 3-7).
struct LeadByte {
  std::size_t num_following = 0;  // 0: no lead byte of a longer character
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

LeadByte lead_byte(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {1};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};
  if (lead == 0xED) return {2, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {2};
  if (lead == 0xF0) return {3, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {3};
  if (lead == 0xF4) return {3, 0x80, 0x8F};
  return {};
}

// How many bytes at the begin of `text` (not ASCII) agree with one character, and how many it
// needs.
struct CharacterBytes {
  std::size_t num_good = 0;
  std::size_t num_needed = 0;
};

CharacterBytes character_at(std::string_view text) {
  const LeadByte lead = lead_byte(static_cast<unsigned char>(text[0]));
  if (lead.num_following == 0) return {0, 1};
  std::size_t idx = 1;
  for (; idx < text.size() && idx <= lead.num_following; ++idx) {
    const auto byte = static_cast<unsigned char>(text[idx]);
    if (byte < (idx == 1 ? lead.low : 0x80) || byte > (idx == 1 ? lead.high : 0xBF)) break;
  }
  return {idx, lead.num_following + 1};
}

}  // namespace

std::uint16_t char_classes(char32_t code_point) {
  if (code_point < 128) return kAsciiClasses[code_point];
  if (code_point == 0x85) return kSpace;
  return kClassesOfType[u_charType(static_cast<UChar32>(code_point))];
}

bool is_word_character(char32_t code_point) {
  const auto c = static_cast<UChar32>(code_point);
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         (char_classes(code_point) & kMark) != 0 || u_charType(c) == U_DECIMAL_DIGIT_NUMBER ||
         u_charType(c) == U_CONNECTOR_PUNCTUATION;
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::optional<std::size_t> invalid_utf8_offset(std::string_view text) {
  std::size_t position = 0;
  while (position < text.size()) {
    if (std::uint64_t word = 0; position + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + position, sizeof(word));
      if ((word & 0x8080808080808080U) == 0) {
        position += sizeof(word);
        continue;
      }
    }
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const CharacterBytes found = character_at(text.substr(position));
    if (found.num_good != found.num_needed) return position;
    position += found.num_needed;
  }
  return std::nullopt;
}

std::size_t complete_utf8_bytes(std::string_view text) {
  const std::size_t first = text.size() > 3 ? text.size() - 3 : 0;
  for (std::size_t begin = first; begin < text.size(); ++begin) {
    if (static_cast<unsigned char>(text[begin]) < 0xC2) continue;
    const CharacterBytes found = character_at(text.substr(begin));
    if (found.num_good == text.size() - begin && found.num_good < found.num_needed) return begin;
  }
  return text.size();
}

}  // namespace trireme::text
