#pragma once

#include <span>

#include "kernels/attention.h"
#include "ops/context.h"
#include "tensor/tensor.h"

/// Operators: check shapes and dtypes, then choose the kernel of the backend. The only dispatch in
/// the program. Activations are float32 on the CPU, and weights any floating type, as stored; on a
/// GPU both are of the context's activation_dtype. Norm weights, biases and logits are float32. On
/// a GPU operators are stream-ordered, all spans are device memory, and their contents are not
/// checked.
namespace trireme::ops {

using tensor::TensorView;

/// y [M, N] = x [M, K] · weight [N, K]ᵀ + bias [N] (bias null: none). y and x may have strided
/// rows.
void linear(Context& context, const TensorView& x, const TensorView& weight, const TensorView* bias,
            const TensorView& y);

/// y = rms_norm(x) · weight over the last extent. x, y [rows, size]; y may be x.
void rms_norm(Context& context, const TensorView& x, const TensorView& weight, float eps,
              const TensorView& y);
/// The same for each head: x [tokens, num_heads · head_dim] strided, in place; weight [head_dim].
void rms_norm_heads(Context& context, const TensorView& x, std::int64_t num_heads,
                    const TensorView& weight, float eps);
/// Σ x² of each row: sums [rows].
void sum_of_squares(Context& context, const TensorView& x, const TensorView& sums);
/// In place: x / sqrt(sums / total_size + eps) · weight.
void scale_by_norm(Context& context, const TensorView& x, const TensorView& sums,
                   std::int64_t total_size, const TensorView& weight, float eps);
/// residual += x, then y = rms_norm(residual) · weight; all contiguous, y may be x.
void add_rms_norm(Context& context, const TensorView& x, const TensorView& residual,
                  const TensorView& weight, float eps, const TensorView& y);
/// x += y.
void add(Context& context, const TensorView& y, const TensorView& x);

/// In place on x [tokens, num_heads · head_dim] (strided); cos_sin [positions, rotary_dim].
void rope(Context& context, const TensorView& x, std::int64_t num_heads,
          std::span<const std::int32_t> positions, const TensorView& cos_sin);

/// What stands between the projection and attention.
struct NormRopeAppend {
  std::int64_t num_heads = 0;
  const TensorView* q_norm = nullptr;  ///< [head_dim] with k_norm, or null: no norms
  const TensorView* k_norm = nullptr;
  float eps = 0;
  std::span<const std::int32_t> positions;
  TensorView cos_sin;  ///< [positions, rotary_dim]
  std::span<const std::int64_t> slot_mapping;
  kernels::KvCache cache;
};
/// Norms and rotates queries and keys of qkv [tokens, (num_heads + 2 · num_kv_heads) · head_dim]
/// and stores keys and values. Afterwards only the queries of qkv are defined.
void norm_rope_append(Context& context, const TensorView& qkv, const NormRopeAppend& options);

/// k, v [tokens, num_kv_heads · head_dim], same row stride.
void append_kv(Context& context, const TensorView& k, const TensorView& v,
               std::span<const std::int64_t> slot_mapping, const kernels::KvCache& cache);
/// q [tokens, num_heads · head_dim] (strided), out the same, contiguous; window 0 = full.
void attention(Context& context, const TensorView& q, std::int64_t num_heads, float scale,
               std::int64_t window, const kernels::KvCache& cache,
               const kernels::AttentionBatch& batch, const TensorView& out);

/// y [rows, size] = silu(gate) · up of x [rows, K] · weight [2 · size, K]ᵀ, gates before ups.
void linear_silu_and_mul(Context& context, const TensorView& x, const TensorView& weight,
                         const TensorView& y);
/// y [rows, size] = silu(gate) · up of gate_up [rows, 2 · size].
void silu_and_mul(Context& context, const TensorView& gate_up, const TensorView& y);

/// y [tokens, size] from table [rows, size] that holds ids vocab_begin, vocab_begin + 1, ...; zeros
/// for ids outside.
void embedding(Context& context, std::span<const std::int32_t> ids, const TensorView& table,
               std::int64_t vocab_begin, const TensorView& y);
/// y [rows, size] = the rows of x [tokens, size] that `rows` names.
void take_rows(Context& context, std::span<const std::int32_t> rows, const TensorView& x,
               const TensorView& y);

/// logits [tokens, num_experts] -> ids [tokens, top_k] int32, weights [tokens, top_k] float32.
void route_softmax(Context& context, const TensorView& logits, bool normalize,
                   const TensorView& ids, const TensorView& weights);
/// The same on a GPU alone, with the slot of each chosen expert.
///   slot_of_expert  [num_experts] int32, -1: on another rank; null: slot e holds expert e
///   num_valid       tokens from *num_valid on have slots of -1; null: none
///   slots           [tokens, top_k] int32
void route_to_slots(Context& context, const TensorView& logits, bool normalize,
                    const TensorView* slot_of_expert, const std::int32_t* num_valid,
                    const TensorView& ids, const TensorView& weights, const TensorView& slots);

/// The experts' SwiGLU networks over pairs (row, slot); pairs of slot -1 are left out.
///   x         [rows, hidden]
///   row_of    [num_pairs] the row of x that a pair reads; on a GPU also empty: equally many pairs
///             a row, one after the other
///   slots     [num_pairs] local expert slot or -1
///   gate_up   [num_slots, 2 · intermediate, hidden], down [num_slots, hidden, intermediate]
///   returns   [pairs placed (on a GPU: num_pairs, those placed first), hidden] in the arena, and
///             place_of_pair [num_pairs] int32 (-1 = left out)
struct ExpertOutputs {
  TensorView pairs;
  TensorView place_of_pair;
};
ExpertOutputs experts(Context& context, const TensorView& x, std::span<const std::int32_t> row_of,
                      std::span<const std::int32_t> slots, const TensorView& gate_up,
                      const TensorView& down);

/// y [tokens, hidden] = Σ_k weights[t, k] · pairs[place_of_pair[t · top_k + k]] in order of k.
void combine(Context& context, const TensorView& pairs, std::span<const std::int32_t> place_of_pair,
             const TensorView& weights, const TensorView& y);

}  // namespace trireme::ops
