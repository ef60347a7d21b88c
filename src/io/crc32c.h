#pragma once

#include <cstdint>
#include <string_view>

namespace trireme::io {

/// CRC-32C (Castagnoli) of `bytes`, after the bytes whose checksum is `before`. Source: RFC 3720,
/// section 12.1. Uses the processor's instruction where there is one.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

/// The same by table alone.
std::uint32_t crc32c_by_table(std::string_view bytes, std::uint32_t before = 0);

}  // namespace trireme::io
