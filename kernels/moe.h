#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"
#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {

/// Softmax over all experts, then the top_k largest (ties by lowest id), largest first.
///   logits   [num_tokens, num_experts] float32
///   ids      [num_tokens, top_k]
///   weights  [num_tokens, top_k] float32; with `normalize` they sum to one
void route_softmax(const float* logits, std::int64_t num_tokens, std::int64_t num_experts,
                   std::int64_t top_k, bool normalize, std::int32_t* ids, float* weights,
                   InstructionSet set);

/// Groups the pairs (token, k) by local expert. Pairs whose slot is -1 are left out.
///   slots          [num_pairs] local expert slot in [0, num_slots) or -1
///   expert_begin   [num_slots + 1] out: pairs of slot e stand at [expert_begin[e],
///   expert_begin[e+1]) pair_at        [num_pairs] out: which pair stands there; ascending inside a
///   slot place_of_pair  [num_pairs] out: where a pair stands, or -1
/// Returns the number of pairs placed.
std::int64_t sort_by_expert(const std::int32_t* slots, std::int64_t num_pairs,
                            std::int64_t num_slots, std::int32_t* expert_begin,
                            std::int32_t* pair_at, std::int32_t* place_of_pair);

/// y[i] = x[rows[i]].
void gather_rows(const float* x, std::int64_t x_stride, const std::int32_t* rows,
                 std::int64_t num_rows, std::int64_t size, float* y);

/// y[t] = Σ_k weights[t, k] · pairs[place_of_pair[t·top_k + k]], in order of k, float32; places of
/// -1 add nothing.
void combine(const float* pairs, const std::int32_t* place_of_pair, const float* weights,
             std::int64_t num_tokens, std::int64_t top_k, std::int64_t size, float* y);

}  // namespace trireme::kernels::cpu

namespace trireme::kernels::cuda {

/// What routing reads and writes.
struct Routing {
  const float* logits = nullptr;  ///< [num_tokens, num_experts]
  std::int64_t num_tokens = 0, num_experts = 0, top_k = 0;
  bool normalize = false;
  std::int32_t* ids = nullptr;  ///< [num_tokens, top_k]
  float* weights = nullptr;     ///< [num_tokens, top_k]
  /// Null, or [num_tokens, top_k] slot_of_expert[id], and -1 for tokens from *num_valid on (those
  /// that fill up a step).
  std::int32_t* slots = nullptr;
  const std::int32_t* slot_of_expert = nullptr;  ///< [num_experts], -1: not here; null: its number
  const std::int32_t* num_valid = nullptr;       ///< null: all
};
/// As cpu::route_softmax, the same ids; at most 1024 experts. A logit that is NaN counts as the
/// smallest.
void route_softmax(const Routing& routing, Stream stream);

/// As cpu::sort_by_expert, the same order; at most 1024 slots. expert_begin[num_slots] is the
/// number placed.
///   workspace  [sort_workspace_size(num_pairs, num_slots)]
void sort_by_expert(const std::int32_t* slots, std::int64_t num_pairs, std::int64_t num_slots,
                    std::int32_t* expert_begin, std::int32_t* pair_at, std::int32_t* place_of_pair,
                    std::int32_t* workspace, Stream stream);
std::int64_t sort_workspace_size(std::int64_t num_pairs, std::int64_t num_slots);

/// y[i] = x[pair_at[i] / top_k] for i below *num_placed and num_rows.
///   x, y  rows of `size` elements of dtype
void gather_rows(const void* x, std::int64_t x_stride, const std::int32_t* pair_at,
                 std::int64_t top_k, const std::int32_t* num_placed, std::int64_t num_rows,
                 std::int64_t size, void* y, DType dtype, Stream stream);

/// As cpu::combine, on pairs and y of dtype. Places and weights are read while the kernel before in
/// the stream still runs: between what writes them and this is a product.
void combine(const void* pairs, const std::int32_t* place_of_pair, const float* weights,
             std::int64_t num_tokens, std::int64_t top_k, std::int64_t size, void* y, DType dtype,
             Stream stream);

/// The experts' products: y[i] = x[row of i] · weight[slot of i]ᵀ for all places i, where slot e
/// has the places [expert_begin[e], expert_begin[e + 1]). The counts stay on the device.
struct GroupedProduct {
  const void* x = nullptr;
  std::int64_t x_stride = 0;
  /// Place i reads row row_of[p] of x, or p / top_k without row_of, for pair p = pair_at[i];
  /// without pair_at row i.
  const std::int32_t* pair_at = nullptr;
  const std::int32_t* row_of = nullptr;
  std::int64_t top_k = 1;
  const void* weight = nullptr;                ///< [num_slots, n, k]
  const std::int32_t* expert_begin = nullptr;  ///< [num_slots + 1]
  std::int64_t num_slots = 0;                  ///< at most 1024
  std::int64_t num_places = 0;                 ///< at least expert_begin[num_slots]
  void* y = nullptr;                           ///< [num_places, n] contiguous
  std::int64_t n = 0, k = 0;
  DType dtype = DType::bfloat16;  ///< of x, weight and y; sums are float32
  /// The rows of a weight are gates, then ups, n a multiple of 32: y [num_places, n / 2] =
  /// silu(gate) · up of the product.
  bool has_silu_and_mul = false;
  /// Between what writes expert_begin and this is a product in the stream, as the experts' first
  /// one is before their second: expert_begin and the weights are then read while the kernel before
  /// still runs. Not with pair_at.
  bool follows_product = false;
  /// One kernel for any number of rows, so that a row has the same bits in any company.
  bool is_invariant = false;
};
void grouped_product(const GroupedProduct& arguments, Stream stream);

}  // namespace trireme::kernels::cuda
