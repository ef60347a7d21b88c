#pragma once

#include "kernels/gemm.h"
#include "tensor/arena.h"

namespace trireme::ops {

/// What every operator needs beside its tensors: one per rank, made at start and passed by
/// reference.
struct Context {
  kernels::cpu::InstructionSet instruction_set;  ///< the least of all ranks: it changes bits
  kernels::cpu::Gemm gemm;
  tensor::Arena arena;

  Context(kernels::cpu::InstructionSet set, bool round_to_bf16)
      : instruction_set(set), gemm(set, round_to_bf16) {}
};

}  // namespace trireme::ops
