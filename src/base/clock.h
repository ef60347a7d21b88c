#pragma once

#include <chrono>

namespace trireme {

/// Seconds on a clock that never jumps; only differences mean anything.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace trireme
