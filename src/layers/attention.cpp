#include "layers/attention.h"

#include <array>
#include <cmath>

#include "ops/ops.h"

namespace trireme::layers {

Attention::Attention(checkpoint::WeightLoader& loader, const Options& options, const Shard& shard,
                     const Rotary& rotary)
    : options_(options),
      is_split_(shard.tp_size > 1),
      heads_(head_shard(options.num_heads, options.num_kv_heads, shard)),
      rotary_(rotary),
      qkv_(make_qkv(loader)),
      output_(loader, options.prefix + "o_proj", options.hidden_size,
              options.num_heads * options.head_dim, options.output_bias, shard) {
  const std::string q = options.prefix + "q_norm.weight", k = options.prefix + "k_norm.weight";
  const std::int64_t head_dim = options.head_dim;
  if (options.qk_norm == QkNorm::per_head) {
    q_norm_ = declare_vector(loader, q, head_dim);
    k_norm_ = declare_vector(loader, k, head_dim);
  } else if (options.qk_norm == QkNorm::all_heads) {
    q_norm_ = declare_vector(loader, q, options.num_heads * head_dim,
                             {0, heads_.heads.begin * head_dim, heads_.heads.end * head_dim});
    k_norm_ = declare_vector(loader, k, options.num_kv_heads * head_dim,
                             {0, heads_.kv_heads.begin * head_dim, heads_.kv_heads.end * head_dim});
  }
}

ColumnParallelLinear Attention::make_qkv(checkpoint::WeightLoader& loader) const {
  const std::int64_t dim = options_.head_dim;
  const auto rows = [dim](const checkpoint::Slice& heads) {
    return checkpoint::Slice{0, heads.begin * dim, heads.end * dim};
  };
  const std::array<ColumnParallelLinear::Projection, 3> projections = {{
      {options_.prefix + "q_proj", options_.num_heads * dim, rows(heads_.heads)},
      {options_.prefix + "k_proj", options_.num_kv_heads * dim, rows(heads_.kv_heads)},
      {options_.prefix + "v_proj", options_.num_kv_heads * dim, rows(heads_.kv_heads)},
  }};
  return {loader, options_.hidden_size, options_.qkv_bias, projections};
}

void Attention::forward(ForwardContext& context, const ForwardBatch& batch, const TensorView& x,
                        const TensorView& y) const {
  const tensor::ArenaScope scope(context.ops.arena);
  output_.forward(context, attend(context, batch, project(context, batch, x)), y);
}

void Attention::forward_logit_rows(ForwardContext& context, const ForwardBatch& batch,
                                   const TensorView& x, const TensorView& y) const {
  const tensor::ArenaScope scope(context.ops.arena);
  const TensorView qkv = project(context, batch, x);
  if (y.rows() == 0) return;
  const TensorView out = attend(context, batch, qkv);
  const TensorView rows(qkv.data, qkv.dtype, {y.rows(), q_size()});  // qkv has been read
  ops::take_rows(context.ops, batch.logit_rows, out, rows);
  output_.forward(context, rows, y);
}

/// Queries, keys and values of all tokens [tokens, q_size + 2 · kv_size] in the arena, the queries
/// ready for attention, keys and values stored in the cache.
TensorView Attention::project(ForwardContext& context, const ForwardBatch& batch,
                              const TensorView& x) const {
  const TensorView qkv = context.ops.arena.take({x.rows(), q_size() + 2 * kv_size()}, x.dtype);
  qkv_.forward(context.ops, x, qkv);
  if (options_.qk_norm == QkNorm::all_heads) {
    normalize_all_heads(context, qkv.columns(0, q_size()),
                        qkv.columns(q_size(), q_size() + kv_size()));
  }
  const bool is_per_head = options_.qk_norm == QkNorm::per_head;
  ops::norm_rope_append(
      context.ops, qkv,
      {.num_heads = heads_.num_heads,
       .q_norm = is_per_head ? &q_norm_.view() : nullptr,
       .k_norm = is_per_head ? &k_norm_.view() : nullptr,
       .eps = static_cast<float>(options_.eps),
       .positions = batch.positions,
       .cos_sin = rotary_.cos_sin(),
       .slot_mapping = batch.groups[static_cast<std::size_t>(options_.group_idx)].slot_mapping,
       .cache = batch.caches[static_cast<std::size_t>(options_.cache_idx)]});
  return qkv;
}

/// What the output projection reads, [tokens, q_size] in the arena.
TensorView Attention::attend(ForwardContext& context, const ForwardBatch& batch,
                             const TensorView& qkv) const {
  const GroupBatch& group = batch.groups[static_cast<std::size_t>(options_.group_idx)];
  const kernels::AttentionBatch sequences{
      .num_seqs = batch.num_seqs(),
      .q_begin = batch.q_begin.data(),
      .first_position = batch.first_position.data(),
      .block_table = group.block_table.data(),
      .max_blocks = group.max_blocks,
      .table_row = batch.table_rows.empty() ? nullptr : batch.table_rows.data(),
      .num_decodes = batch.num_decodes};
  const TensorView out = context.ops.arena.take({qkv.rows(), q_size()}, qkv.dtype);
  const float scale = 1.0f / std::sqrt(static_cast<float>(options_.head_dim));
  ops::attention(context.ops, qkv.columns(0, q_size()), heads_.num_heads, scale, options_.window,
                 batch.caches[static_cast<std::size_t>(options_.cache_idx)], sequences, out);
  return out;
}

void Attention::normalize_all_heads(ForwardContext& context, const TensorView& q,
                                    const TensorView& k) const {
  if (is_split_) return normalize_over_ranks(context, q, k);
  const auto eps = static_cast<float>(options_.eps);
  ops::rms_norm(context.ops, q, q_norm_, eps, q);
  ops::rms_norm(context.ops, k, k_norm_, eps, k);
}

void Attention::normalize_over_ranks(ForwardContext& context, const TensorView& q,
                                     const TensorView& k) const {
  const auto eps = static_cast<float>(options_.eps);
  const TensorView sums = context.ops.arena.take({2, q.rows()}, DType::float32);
  const TensorView q_sums(sums.data, DType::float32, {q.rows()});
  const TensorView k_sums(sums.slice(1, 2).data, DType::float32, {q.rows()});
  ops::sum_of_squares(context.ops, q, q_sums);
  ops::sum_of_squares(context.ops, k, k_sums);
  context.groups.tp->all_reduce(sums);
  ops::scale_by_norm(context.ops, q, q_sums, options_.num_heads * options_.head_dim, q_norm_, eps);
  // A KV head that several ranks hold is in the sum as often, and so in the size.
  ops::scale_by_norm(context.ops, k, k_sums,
                     options_.num_kv_heads * options_.head_dim * heads_.kv_replicas, k_norm_, eps);
}

}  // namespace trireme::layers
