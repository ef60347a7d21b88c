#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::io {

/// Offset of the first byte that is not part of valid UTF-8 (no surrogates, no overlong forms, at
/// most U+10FFFF); none if all is valid.
std::optional<std::size_t> invalid_utf8_offset(std::string_view bytes);

/// The text with U+FFFD for every byte that is not valid UTF-8.
std::string with_valid_utf8(std::string_view bytes);

}  // namespace trireme::io
