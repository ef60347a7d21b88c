#include "text/byte_alphabet.h"

#include <array>

#include "text/unicode.h"

namespace trireme::text {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr int kNumCharacters = 256 + 68;

struct Alphabet {
  std::array<char[2], 256> characters{};
  std::array<std::uint8_t, 256> sizes{};
  std::array<std::int16_t, kNumCharacters> bytes{};  // by code point, -1: none
};

constexpr Alphabet kAlphabet = [] {
  Alphabet alphabet;
  alphabet.bytes.fill(-1);
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const int code_point = stands_for_itself(byte) ? byte : next++;
    alphabet.bytes[code_point] = static_cast<std::int16_t>(byte);
    if (code_point < 0x80) {
      alphabet.characters[byte][0] = static_cast<char>(code_point);
      alphabet.sizes[byte] = 1;
    } else {
      alphabet.characters[byte][0] = static_cast<char>(0xC0 | code_point >> 6);
      alphabet.characters[byte][1] = static_cast<char>(0x80 | (code_point & 0x3F));
      alphabet.sizes[byte] = 2;
    }
  }
  return alphabet;
}();

}  // namespace

std::string_view byte_to_character(std::uint8_t byte) {
  return {kAlphabet.characters[byte], kAlphabet.sizes[byte]};
}

void append_byte_characters(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) out += byte_to_character(static_cast<std::uint8_t>(byte));
}

std::optional<std::string> bytes_of_characters(std::string_view characters) {
  std::string bytes;
  bytes.reserve(characters.size());
  for (std::size_t position = 0; position < characters.size();) {
    const char32_t code_point = next_code_point(characters, position);
    if (code_point >= kNumCharacters || kAlphabet.bytes[code_point] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.bytes[code_point]);
  }
  return bytes;
}

}  // namespace trireme::text
