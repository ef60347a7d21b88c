#include "layers/linear.h"

#include <vector>

#include "base/error.h"
#include "ops/ops.h"

namespace trireme::layers {

ColumnParallelLinear::ColumnParallelLinear(checkpoint::WeightLoader& loader,
                                           std::int64_t hidden_size, bool has_bias,
                                           std::span<const Projection> projections) {
  std::vector<WeightPart> weights, biases;
  for (const Projection& projection : projections) {
    const std::int64_t end = num_rows_ + projection.slice.end - projection.slice.begin;
    weights.push_back({projection.name + ".weight",
                       {projection.num_rows, hidden_size},
                       projection.slice,
                       num_rows_,
                       end});
    biases.push_back(
        {projection.name + ".bias", {projection.num_rows}, projection.slice, num_rows_, end});
    num_rows_ = end;
  }
  weight_ = declare_weight(loader, {num_rows_, hidden_size}, weights);
  if (has_bias) bias_ = declare_float_weight(loader, {num_rows_}, biases);
}

void ColumnParallelLinear::forward(ops::Context& context, const TensorView& x,
                                   const TensorView& y) const {
  ops::linear(context, x, weight_, bias_ ? &bias_.view() : nullptr, y);
}

void ColumnParallelLinear::forward_gated(ops::Context& context, const TensorView& x,
                                         const TensorView& y) const {
  TRIREME_CHECK(!bias_, "gates with a bias");
  ops::linear_silu_and_mul(context, x, weight_, y);
}

RowParallelLinear::RowParallelLinear(checkpoint::WeightLoader& loader, const std::string& name,
                                     std::int64_t num_rows, std::int64_t num_columns, bool has_bias,
                                     const Shard& shard)
    : is_split_(shard.tp_size > 1) {
  const WeightPart part{name + ".weight",
                        {num_rows, num_columns},
                        even_slice(1, num_columns, shard.tp_rank, shard.tp_size),
                        0,
                        num_rows};
  weight_ = declare_weight(loader, {num_rows, num_columns / shard.tp_size}, {&part, 1});
  if (has_bias && shard.tp_rank == 0) bias_ = declare_vector(loader, name + ".bias", num_rows);
}

void RowParallelLinear::forward(ForwardContext& context, const TensorView& x,
                                const TensorView& y) const {
  ops::linear(context.ops, x, weight_, bias_ ? &bias_.view() : nullptr, y);
  if (is_split_) context.groups.tp->all_reduce(y);
}

HeadShard head_shard(std::int64_t num_heads, std::int64_t num_kv_heads, const Shard& shard) {
  TRIREME_CHECK(num_heads % shard.tp_size == 0, "num_heads=", num_heads,
                " tp_size=", shard.tp_size);
  HeadShard result;
  result.num_heads = num_heads / shard.tp_size;
  result.heads = even_slice(0, num_heads, shard.tp_rank, shard.tp_size);
  if (num_kv_heads >= shard.tp_size) {
    TRIREME_CHECK(num_kv_heads % shard.tp_size == 0, "num_kv_heads=", num_kv_heads,
                  " tp_size=", shard.tp_size);
    result.num_kv_heads = num_kv_heads / shard.tp_size;
    result.kv_heads = even_slice(0, num_kv_heads, shard.tp_rank, shard.tp_size);
    return result;
  }
  TRIREME_CHECK(shard.tp_size % num_kv_heads == 0, "num_kv_heads=", num_kv_heads,
                " tp_size=", shard.tp_size);
  result.num_kv_heads = 1;
  result.kv_replicas = shard.tp_size / num_kv_heads;
  const std::int64_t head = shard.tp_rank / result.kv_replicas;
  result.kv_heads = {0, head, head + 1};
  return result;
}

}  // namespace trireme::layers
