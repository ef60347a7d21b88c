#pragma once

#include <cstddef>
#include <vector>

#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "tensor/device.h"

namespace trireme::ops {

using tensor::kHasCuda;

class OpTimer;

/// What the operators need on a GPU: their stream and the memory that kernels work in.
struct CudaContext {
  tensor::Stream stream;
  kernels::cuda::Gemm gemm;
  tensor::DeviceBuffer arena_memory;
  tensor::DeviceBuffer attention_workspace;
  /// While not null, products are noted here and not computed: what a step would ask for.
  std::vector<kernels::cuda::Gemm::Operands>* recorded = nullptr;

  OpTimer* timer = nullptr;  ///< while not null, operators are timed and nothing is recorded

  /// A row's results have the same bits whatever rows are computed with it.
  const bool is_deterministic;

  CudaContext(std::size_t arena_bytes, std::int64_t head_dim, bool deterministic = false)
      : gemm(deterministic ? kernels::cuda::Gemm::Kernels::invariant
                           : kernels::cuda::Gemm::Kernels::all),
        arena_memory(arena_bytes, "the activations of a step", "max_num_tokens"),
        attention_workspace(kernels::cuda::attention_workspace_bytes(head_dim),
                            "the partial sums of attention",
                            "kv_cache_config.free_gpu_memory_fraction"),
        is_deterministic(deterministic) {
    stream.fill(attention_workspace.data(), 0, attention_workspace.size_bytes());
  }
};

}  // namespace trireme::ops
