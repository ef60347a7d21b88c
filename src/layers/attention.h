#pragma once

#include <optional>
#include <string>

#include "layers/linear.h"
#include "layers/rotary.h"

namespace trireme::layers {

/// Norms of queries and keys before the rotation.
enum class QkNorm {
  none,
  per_head,   ///< one weight [head_dim] for every head
  all_heads,  ///< one norm over all heads of the model: under TP its sum goes over the ranks
};

/// Grouped query attention with its projections.
class Attention {
 public:
  struct Options {
    std::string prefix;  ///< "model.layers.3.self_attn."
    std::int64_t hidden_size = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
    std::int64_t window = 0;  ///< 0: full
    QkNorm qk_norm = QkNorm::none;
    double eps = 1e-6;
    bool qkv_bias = false, output_bias = false;
    int group_idx = 0;  ///< layer group
    int cache_idx = 0;  ///< layer of this stage
  };
  Attention(checkpoint::WeightLoader& loader, const Options& options, const Shard& shard,
            const Rotary& rotary);

  /// x, y [tokens, hidden_size]. Stores the tokens' keys and values in the cache. Collective over
  /// tp when the heads are split.
  void forward(ForwardContext& context, const ForwardBatch& batch, const TensorView& x,
               const TensorView& y) const;
  /// The same with y [logit_rows, hidden_size] of the batch's logit_rows alone; without any only
  /// keys and values are stored.
  void forward_logit_rows(ForwardContext& context, const ForwardBatch& batch, const TensorView& x,
                          const TensorView& y) const;

 private:
  ColumnParallelLinear make_qkv(checkpoint::WeightLoader& loader) const;
  std::int64_t q_size() const { return heads_.num_heads * options_.head_dim; }
  std::int64_t kv_size() const { return heads_.num_kv_heads * options_.head_dim; }
  TensorView project(ForwardContext& context, const ForwardBatch& batch, const TensorView& x) const;
  TensorView attend(ForwardContext& context, const ForwardBatch& batch,
                    const TensorView& qkv) const;
  void normalize_all_heads(ForwardContext& context, const TensorView& q, const TensorView& k) const;
  void normalize_over_ranks(ForwardContext& context, const TensorView& q,
                            const TensorView& k) const;

  Options options_;
  bool is_split_;
  HeadShard heads_;
  const Rotary& rotary_;
  ColumnParallelLinear qkv_;
  RowParallelLinear output_;
  tensor::Tensor q_norm_, k_norm_;  // [head_dim], or this rank's part of [heads · head_dim]
};

}  // namespace trireme::layers
