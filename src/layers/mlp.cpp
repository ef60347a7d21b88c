#include "layers/mlp.h"

#include <array>

#include "ops/ops.h"

namespace trireme::layers {
namespace {

ColumnParallelLinear make_gate_up(checkpoint::WeightLoader& loader, const std::string& prefix,
                                  std::int64_t hidden_size, std::int64_t intermediate_size,
                                  const Shard& shard) {
  const checkpoint::Slice slice = even_slice(0, intermediate_size, shard.tp_rank, shard.tp_size);
  const std::array<ColumnParallelLinear::Projection, 2> projections = {{
      {prefix + "gate_proj", intermediate_size, slice},
      {prefix + "up_proj", intermediate_size, slice},
  }};
  return {loader, hidden_size, false, projections};
}

}  // namespace

GatedMlp::GatedMlp(checkpoint::WeightLoader& loader, const std::string& prefix,
                   std::int64_t hidden_size, std::int64_t intermediate_size, const Shard& shard)
    : gate_up_(make_gate_up(loader, prefix, hidden_size, intermediate_size, shard)),
      down_(loader, prefix + "down_proj", hidden_size, intermediate_size, false, shard) {}

void GatedMlp::forward(ForwardContext& context, const TensorView& x, const TensorView& y) const {
  tensor::Arena& arena = context.ops.arena;
  const tensor::ArenaScope scope(arena);
  const TensorView inner = arena.take({x.rows(), gate_up_.num_rows() / 2}, x.dtype);
  gate_up_.forward_gated(context.ops, x, inner);
  down_.forward(context, inner, y);
}

}  // namespace trireme::layers
