#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::text {

/// Byte-level vocabularies write every byte as a visible character: ASCII and Latin-1 letters,
/// digits and signs stand for themselves, the other 68 bytes, in order, for U+0100 and up. Source:
/// the encoder published with GPT-2.
std::string_view byte_to_character(std::uint8_t byte);

/// The bytes written with that alphabet; appends to `out`.
void append_byte_characters(std::string& out, std::string_view bytes);

/// The bytes that `characters` (valid UTF-8) stand for; none if one is not in the alphabet.
std::optional<std::string> bytes_of_characters(std::string_view characters);

}  // namespace trireme::text
