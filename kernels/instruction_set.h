#pragma once

#include <cstdint>

namespace trireme::kernels::cpu {

/// Instruction sets that the kernels are written for, weakest first.
enum class InstructionSet : std::uint8_t { generic, avx2, avx512_bf16 };

/// The strongest that this processor has, by CPUID.
InstructionSet detect_instruction_set();
const char* name_of(InstructionSet set);

}  // namespace trireme::kernels::cpu
