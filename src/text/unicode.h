#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::text {

/// What a code point is, as the patterns of tokenizers ask; several may hold at once.
enum CharClass : std::uint16_t {
  kLetter = 1,          ///< \p{L}
  kNumber = 2,          ///< \p{N}
  kMark = 4,            ///< \p{M}
  kPunctuation = 8,     ///< \p{P}
  kSymbol = 16,         ///< \p{S}
  kSpace = 32,          ///< \s: the property White_Space
  kNewline = 64,        ///< carriage return or line feed
  kUpperOrOther = 128,  ///< [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
  kLowerOrOther = 256,  ///< [\p{Ll}\p{Lm}\p{Lo}\p{M}]
};

/// The classes of a code point together.
std::uint16_t char_classes(char32_t code_point);

/// \w: letters, marks, decimal digits, connectors.
bool is_word_character(char32_t code_point);

/// The code point that begins at `position` of valid UTF-8; `position` moves behind it.
inline char32_t next_code_point(std::string_view text, std::size_t& position) {
  const auto byte = [&](std::size_t idx) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + idx]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) {
    position += 1;
    return lead;
  }
  if (lead < 0xE0) {
    const char32_t result = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    position += 2;
    return result;
  }
  if (lead < 0xF0) {
    const char32_t result = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    position += 3;
    return result;
  }
  const char32_t result =
      (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  position += 4;
  return result;
}

/// The code point that ends right before `position` > 0 of valid UTF-8; `position` moves to its
/// begin.
inline char32_t previous_code_point(std::string_view text, std::size_t& position) {
  do {
    --position;
  } while ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  std::size_t begin = position;
  return next_code_point(text, begin);
}

void append_utf8(std::string& out, char32_t code_point);

/// Where the first byte stands that is no UTF-8 (also: surrogates, overlong forms); none if all is.
std::optional<std::size_t> invalid_utf8_offset(std::string_view text);

/// Length of `text` without a beginning of a character that may still be completed (at most 3
/// bytes). Bytes that are no UTF-8 count as complete.
std::size_t complete_utf8_bytes(std::string_view text);

}  // namespace trireme::text
