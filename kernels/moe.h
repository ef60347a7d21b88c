#pragma once

#include <cstdint>

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
