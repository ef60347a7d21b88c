#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace trireme::kernels::cuda {

/// Elements from a cache's begin to the row of a KV slot and head. A cache has fewer than 2^32
/// slots: a 32-bit division is much cheaper.
__device__ inline std::int64_t slot_offset(const KvCache& cache, std::int64_t slot,
                                           std::int64_t kv_head) {
  const auto tokens_per_block = static_cast<unsigned>(cache.tokens_per_block);
  const unsigned block = static_cast<unsigned>(slot) / tokens_per_block;
  const unsigned offset = static_cast<unsigned>(slot) % tokens_per_block;
  return ((block * cache.num_kv_heads + kv_head) * cache.tokens_per_block + offset) *
         cache.head_dim;
}

}  // namespace trireme::kernels::cuda
