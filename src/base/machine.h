#pragma once

#include <cstdint>

namespace trireme::apps {

/// Cores that this process may use.
int usable_cores();
/// Bytes of main memory of this machine.
std::int64_t memory_bytes();

}  // namespace trireme::apps
