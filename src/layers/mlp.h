#pragma once

#include <string>

#include "layers/linear.h"

namespace trireme::layers {

/// down(silu(gate(x)) · up(x)); the intermediate size is split over tp.
class GatedMlp {
 public:
  /// `prefix`: "model.layers.3.mlp."
  GatedMlp(checkpoint::WeightLoader& loader, const std::string& prefix, std::int64_t hidden_size,
           std::int64_t intermediate_size, const Shard& shard);

  /// x, y [tokens, hidden_size]. Collective over tp when split.
  void forward(ForwardContext& context, const TensorView& x, const TensorView& y) const;

 private:
  ColumnParallelLinear gate_up_;
  RowParallelLinear down_;
};

}  // namespace trireme::layers
