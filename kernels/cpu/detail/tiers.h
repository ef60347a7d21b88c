#pragma once

#include <cstdint>

#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {

/// The form of a kernel for the set.
template <typename Kernel>
Kernel choose(InstructionSet set, Kernel generic, Kernel avx2, Kernel avx512) {
  switch (set) {
    case InstructionSet::avx512_bf16:
      return avx512;
    case InstructionSet::avx2:
      return avx2;
    case InstructionSet::generic:
      break;
  }
  return generic;
}

/// Elements that are done sooner than a second thread has woken up.
inline constexpr std::int64_t kSmallWork = 32768;

}  // namespace trireme::kernels::cpu
