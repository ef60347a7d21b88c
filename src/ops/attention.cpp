#include "kernels/attention.h"

#include <algorithm>

#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

void append_kv(Context& context, const TensorView& k, const TensorView& v,
               std::span<const std::int64_t> slot_mapping, const kernels::KvCache& cache) {
  check_activations(context, "k", k);
  check_activations(context, "v", v);
  check_shape("k", k, {k.rows(), cache.num_kv_heads * cache.head_dim});
  check_shape("v", v, k.shape);
  TRIREME_CHECK(k.row_stride == v.row_stride, "k=", k.row_stride, " v=", v.row_stride);
  TRIREME_CHECK(static_cast<std::int64_t>(slot_mapping.size()) == k.rows(),
                "slot_mapping=", slot_mapping.size(), " rows=", k.rows());
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "append_kv");
      TRIREME_CHECK(cache.dtype == k.dtype, "cache=", trireme::name_of(cache.dtype));
      return kernels::cuda::append_kv(k.data, v.data, k.row_stride, slot_mapping.data(), k.rows(),
                                      cache, context.stream());
    }
  }
  const std::int64_t num_slots = cache.num_blocks * cache.tokens_per_block;
  const bool inside = std::all_of(slot_mapping.begin(), slot_mapping.end(),
                                  [&](std::int64_t slot) { return slot >= 0 && slot < num_slots; });
  TRIREME_CHECK(inside, "a KV slot is outside of the cache of ", num_slots, " slots");
  kernels::cpu::append_kv(k.as<float>(), v.as<float>(), k.row_stride, slot_mapping.data(), k.rows(),
                          cache, context.instruction_set);
}

namespace {

void check_batch(const kernels::AttentionBatch& batch, const kernels::KvCache& cache,
                 std::int64_t num_rows) {
  for (std::int64_t seq = 0; seq < batch.num_seqs; ++seq) {
    const std::int64_t num_new = batch.q_begin[seq + 1] - batch.q_begin[seq];
    const std::int64_t end = batch.first_position[seq] + num_new;
    TRIREME_CHECK(num_new >= 0 && batch.first_position[seq] >= 0 &&
                      end <= batch.max_blocks * cache.tokens_per_block,
                  "sequence ", seq, " of the step has ", num_new, " tokens from position ",
                  batch.first_position[seq], " and ", batch.max_blocks, " blocks");
  }
  TRIREME_CHECK(
      batch.num_seqs == 0 || (batch.q_begin[0] >= 0 && batch.q_begin[batch.num_seqs] <= num_rows),
      "rows=", num_rows);
}

}  // namespace

void attention(Context& context, const TensorView& q, std::int64_t num_heads, float scale,
               std::int64_t window, const kernels::KvCache& cache,
               const kernels::AttentionBatch& batch, const TensorView& out) {
  check_activations(context, "q", q);
  check_activations(context, "out", out);
  check_contiguous("out", out);
  check_shape("q", q, {out.rows(), num_heads * cache.head_dim});
  check_shape("out", out, q.shape);
  TRIREME_CHECK(cache.num_kv_heads > 0 && num_heads % cache.num_kv_heads == 0,
                "num_heads=", num_heads, " num_kv_heads=", cache.num_kv_heads);
  TRIREME_CHECK(window >= 0, "window=", window);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context,
                          batch.num_decodes == batch.num_seqs ? "attention, decodes" : "attention");
      TRIREME_CHECK(cache.dtype == q.dtype, "cache=", trireme::name_of(cache.dtype));
      kernels::AttentionBatch sequences = batch;
      if (context.cuda->is_deterministic) sequences.num_decodes = 0;
      return kernels::cuda::attention({.q = q.data,
                                       .q_stride = q.row_stride,
                                       .num_heads = num_heads,
                                       .scale = scale,
                                       .window = window,
                                       .cache = cache,
                                       .batch = sequences,
                                       .num_tokens = q.rows(),
                                       .out = out.data,
                                       .workspace = context.cuda->attention_workspace.data(),
                                       .is_invariant = context.cuda->is_deterministic},
                                      context.stream());
    }
  }
  check_batch(batch, cache, q.rows());
  kernels::cpu::attention(q.as<float>(), q.row_stride, num_heads, scale, window, cache, batch,
                          out.as<float>(), context.instruction_set);
}

}  // namespace trireme::ops
