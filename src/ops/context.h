#pragma once

#include <memory>

#include "kernels/gemm.h"
#include "ops/cuda_context.h"
#include "tensor/arena.h"

namespace trireme::ops {

/// What every operator needs beside its tensors: one per rank, made at start and passed by
/// reference. It also says where operators run: all their tensors and spans are in the host's
/// memory, or all in the GPU's.
struct Context {
  kernels::cpu::InstructionSet instruction_set;  ///< the least of all ranks: it changes bits
  kernels::cpu::Gemm gemm;
  std::shared_ptr<CudaContext> cuda;        ///< null: on the CPU
  DType activation_dtype = DType::float32;  ///< of what operators pass on to each other
  tensor::Arena arena;

  /// On the CPU.
  Context(kernels::cpu::InstructionSet set, bool round_to_bf16)
      : instruction_set(set), gemm(set, round_to_bf16) {}

  /// On the GPU of this thread; weights are of the activations' dtype.
  Context(std::shared_ptr<CudaContext> on_gpu, DType activations)
      : instruction_set(kernels::cpu::InstructionSet::generic),
        gemm(instruction_set, false),
        cuda(std::move(on_gpu)),
        activation_dtype(activations),
        arena(cuda->arena_memory.data(), cuda->arena_memory.size_bytes()) {}

  bool is_on_gpu() const { return cuda != nullptr; }
  kernels::cuda::Stream stream() const { return cuda->stream.get(); }
};

}  // namespace trireme::ops
