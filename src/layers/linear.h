#pragma once

#include <cstdint>
#include <string>

#include "layers/forward_batch.h"
#include "layers/shard.h"
#include "layers/weight.h"

namespace trireme::layers {

/// Projections of hidden states that stand side by side in one matrix, each split over its rows:
/// gate and up, or query, key and value. No communication.
class ColumnParallelLinear {
 public:
  struct Projection {
    std::string name;           ///< without ".weight"
    std::int64_t num_rows = 0;  ///< stored
    checkpoint::Slice slice;    ///< rows that this rank holds
  };
  ColumnParallelLinear(checkpoint::WeightLoader& loader, std::int64_t hidden_size, bool has_bias,
                       std::span<const Projection> projections);

  /// x [tokens, hidden_size] -> y [tokens, num_rows()].
  void forward(ops::Context& context, const TensorView& x, const TensorView& y) const;
  /// Of gates and their ups, without bias: y [tokens, num_rows() / 2] = silu(gate) · up.
  void forward_gated(ops::Context& context, const TensorView& x, const TensorView& y) const;
  std::int64_t num_rows() const { return num_rows_; }

 private:
  std::int64_t num_rows_ = 0;
  tensor::Tensor weight_;  // [num_rows, hidden_size]
  tensor::Tensor bias_;    // [num_rows] or empty
};

/// A projection back to hidden states, split over its columns; the ranks' parts are summed.
class RowParallelLinear {
 public:
  RowParallelLinear(checkpoint::WeightLoader& loader, const std::string& name,
                    std::int64_t num_rows, std::int64_t num_columns, bool has_bias,
                    const Shard& shard);

  /// x [tokens, num_columns / tp_size] -> y [tokens, num_rows], contiguous. Collective over tp
  /// unless this rank holds all columns.
  void forward(ForwardContext& context, const TensorView& x, const TensorView& y) const;

 private:
  bool is_split_;
  tensor::Tensor weight_;  // [num_rows, num_columns / tp_size]
  tensor::Tensor bias_;    // [num_rows] on tp rank 0, since the parts are summed; else empty
};

/// Query, key and value heads of a rank. Query heads are split evenly; KV heads too, or, when there
/// are fewer of them than ranks, each is held by tp_size / num_kv_heads neighbouring ranks.
struct HeadShard {
  std::int64_t num_heads = 0, num_kv_heads = 0;  ///< of this rank
  checkpoint::Slice heads, kv_heads;             ///< heads [begin, end)
  std::int64_t kv_replicas = 1;                  ///< ranks that hold the same KV head
};
HeadShard head_shard(std::int64_t num_heads, std::int64_t num_kv_heads, const Shard& shard);

}  // namespace trireme::layers
