#include "io/utf8.h"

namespace trireme::io {
namespace {

// Length of the character at the start of `bytes` (not empty), 0 if it is not valid. Source:
// Unicode 15, table 3-7.
std::size_t character_length(std::string_view bytes) {
  const auto at = [&](std::size_t i) -> unsigned {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0;
  };
  const auto follows = [&](std::size_t i) { return at(i) >= 0x80 && at(i) <= 0xbf; };
  const unsigned first = at(0);
  const unsigned second = at(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned lowest = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned highest = first == 0xed ? 0x9f : 0xbf;
    return second >= lowest && second <= highest && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned lowest = first == 0xf0 ? 0x90 : 0x80;
    const unsigned highest = first == 0xf4 ? 0x8f : 0xbf;
    return second >= lowest && second <= highest && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::optional<std::size_t> invalid_utf8_offset(std::string_view bytes) {
  std::size_t offset = 0;
  while (offset < bytes.size()) {
    const std::size_t length = character_length(bytes.substr(offset));
    if (length == 0) return offset;
    offset += length;
  }
  return std::nullopt;
}

std::string with_valid_utf8(std::string_view bytes) {
  std::string valid;
  while (!bytes.empty()) {
    const std::size_t length = invalid_utf8_offset(bytes).value_or(bytes.size());
    valid.append(bytes.substr(0, length));
    if (length == bytes.size()) break;
    valid += "\xef\xbf\xbd";
    bytes.remove_prefix(length + 1);
  }
  return valid;
}

}  // namespace trireme::io
