#include "config/faults.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::config {

void require_none(const std::vector<Fault>& faults) {
  if (faults.empty()) return;
  if (faults.size() == 1) fail(ErrorKind::config, cat("configuration: ", faults[0].message));
  // A hostile file could hold a fault a byte; nobody reads more than the first few.
  constexpr std::size_t kListed = 50;
  std::string message = cat("configuration: ", faults.size(), " errors");
  for (std::size_t i = 0; i < std::min(faults.size(), kListed); ++i) {
    message += cat("\n  ", faults[i].message);
  }
  if (faults.size() > kListed) message += cat("\n  ... and ", faults.size() - kListed, " more");
  fail(ErrorKind::config, message);
}

std::string shown(std::string_view text) {
  constexpr std::size_t kShown = 60;
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += cat("\\x", kHexDigits[byte >> 4], kHexDigits[byte & 15]);
    } else {
      out += c;
    }
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

}  // namespace trireme::config
