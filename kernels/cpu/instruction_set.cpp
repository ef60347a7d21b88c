#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {
namespace {

InstructionSet read_cpuid() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (!avx2) return InstructionSet::generic;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bf16");
  return avx512 ? InstructionSet::avx512_bf16 : InstructionSet::avx2;
}

}  // namespace

InstructionSet detect_instruction_set() {
  static const InstructionSet detected = read_cpuid();
  return detected;
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::generic:
      return "generic";
    case InstructionSet::avx2:
      return "avx2";
    case InstructionSet::avx512_bf16:
      return "avx512_bf16";
  }
  return "unknown";
}

}  // namespace trireme::kernels::cpu
