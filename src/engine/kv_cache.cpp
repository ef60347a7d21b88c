#include "engine/kv_cache.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "models/memory_plan.h"

namespace trireme::engine {

std::int64_t kv_capacity(const layers::KvSpec& spec, const KvOptions& options) {
  const std::int64_t per_sequence = models::kv_bytes_per_sequence(
      spec, options.max_seq_len, options.max_num_tokens, options.tokens_per_block, options.dtype);
  if (per_sequence == 0) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(static_cast<double>(options.memory_bytes) /
                                   static_cast<double>(per_sequence) * 1024.0);
}

std::vector<PoolShape> pool_shapes(const layers::KvSpec& spec, const KvOptions& options,
                                   std::int64_t capacity) {
  std::vector<PoolShape> pools;
  for (const layers::LayerGroup& group : spec.groups) {
    const auto blocks = models::blocks_per_sequence(
        group.window, options.max_seq_len, options.max_num_tokens, options.tokens_per_block);
    const double num_blocks = static_cast<double>(blocks) * static_cast<double>(capacity) / 1024.0;
    pools.push_back({group.window, static_cast<std::int32_t>(std::min(num_blocks, 1e9))});
  }
  return pools;
}

KvCache::KvCache(const layers::KvSpec& spec, const KvOptions& options,
                 const std::vector<PoolShape>& pools, tensor::Place place) {
  tensor::Slab slab(place, "the KV cache", "kv_cache_config.free_gpu_memory_fraction");
  std::int64_t num_layers = 0;
  for (const layers::LayerGroup& group : spec.groups) num_layers += std::ssize(group.layers);
  views_.resize(static_cast<std::size_t>(num_layers));
  for (std::size_t group = 0; group < spec.groups.size(); ++group) {
    for (const int layer : spec.groups[group].layers) {
      kernels::KvCache& view = views_.at(static_cast<std::size_t>(layer));
      view.dtype = options.dtype;
      view.num_blocks = pools[group].num_blocks;
      view.num_kv_heads = spec.num_kv_heads;
      view.tokens_per_block = options.tokens_per_block;
      view.head_dim = spec.head_dim;
      const tensor::Shape shape{view.num_blocks, view.num_kv_heads, view.tokens_per_block,
                                view.head_dim};
      memory_.push_back(slab.take(shape, options.dtype));
      view.k = memory_.back().view().data;
      memory_.push_back(slab.take(shape, options.dtype));
      view.v = memory_.back().view().data;
    }
  }
}

std::int64_t KvCache::size_bytes() const {
  std::int64_t sum = 0;
  for (const tensor::Tensor& tensor : memory_)
    sum += static_cast<std::int64_t>(tensor.size_bytes());
  return sum;
}

}  // namespace trireme::engine
