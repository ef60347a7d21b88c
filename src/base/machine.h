#pragma once

#include <cstdint>

namespace trireme {

/// Cores that this process may use.
int usable_cores();

/// Bytes of main memory that the processes of this job may use on this node: the machine's, or what
/// the control group of a scheduler or container allows.
std::int64_t memory_bytes();

}  // namespace trireme
