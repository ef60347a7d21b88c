#pragma once

#include <cstdint>
#include <vector>

#include "engine/block_manager.h"
#include "kernels/attention.h"
#include "layers/forward_batch.h"
#include "tensor/tensor.h"

namespace trireme::engine {

struct KvOptions {
  std::int64_t memory_bytes = 0;  ///< of this rank
  std::int64_t tokens_per_block = 16;
  DType dtype = DType::float32;
  std::int64_t max_seq_len = 0;
  std::int64_t max_num_tokens = 0;
};

/// How many sequences of max_seq_len this rank's KV memory holds, in 1/1024 sequences. The group
/// agrees on the minimum, from which all pool sizes follow.
std::int64_t kv_capacity(const layers::KvSpec& spec, const KvOptions& options);

/// The pools of each layer group at an agreed capacity: the same on every rank of the group.
std::vector<PoolShape> pool_shapes(const layers::KvSpec& spec, const KvOptions& options,
                                   std::int64_t capacity);

/// The memory behind the blocks of this rank's layers.
class KvCache {
 public:
  KvCache(const layers::KvSpec& spec, const KvOptions& options, const std::vector<PoolShape>& pools,
          tensor::Place place);

  /// By layer of this stage.
  std::span<const kernels::KvCache> layers() const { return views_; }
  std::int64_t size_bytes() const;

 private:
  std::vector<tensor::Tensor> memory_;
  std::vector<kernels::KvCache> views_;
};

}  // namespace trireme::engine
