#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trireme::text {

/// The begin of a text that a file chose, fit for an error message.
inline std::string shortened(std::string_view text, std::size_t max_bytes = 100) {
  if (text.size() <= max_bytes) return std::string(text);
  return std::string(text.substr(0, max_bytes)) + "...";
}

}  // namespace trireme::text
