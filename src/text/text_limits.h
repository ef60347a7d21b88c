#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace trireme::text {

/// A text longer than this, before or after its normalization, is refused.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;
/// Token ids are below this.
inline constexpr std::int32_t kMaxTokens = 1 << 22;

/// Throws Error(input) if a text of `num_bytes` is too long.
inline void check_text_size(std::size_t num_bytes) {
  if (num_bytes > kMaxTextBytes) {
    fail(ErrorKind::input,
         cat("a text of ", num_bytes, " bytes, at most ", kMaxTextBytes, " can be tokenized"));
  }
}

}  // namespace trireme::text
