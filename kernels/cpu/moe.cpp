#include "kernels/moe.h"

#include <algorithm>
#include <cmath>

namespace trireme::kernels::cpu {
namespace {

void route_token(const float* logits, std::int64_t num_experts, std::int64_t top_k, bool normalize,
                 std::int32_t* ids, float* weights) {
  // Insertion into a sorted list: an equal logit never passes one with a lower id.
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    const float logit = logits[expert];
    std::int64_t place = std::min(expert, top_k);
    while (place > 0 && logit > weights[place - 1]) --place;
    if (place == top_k) continue;
    for (std::int64_t k = std::min(expert, top_k - 1); k > place; --k) {
      ids[k] = ids[k - 1];
      weights[k] = weights[k - 1];
    }
    ids[place] = static_cast<std::int32_t>(expert);
    weights[place] = logit;
  }
  const float largest = weights[0];
  float sum = 0;
  const std::int64_t num_summed = normalize ? top_k : num_experts;
  const float* summed = normalize ? weights : logits;
  for (std::int64_t i = 0; i < num_summed; ++i) sum += std::exp(summed[i] - largest);
  for (std::int64_t k = 0; k < top_k; ++k) weights[k] = std::exp(weights[k] - largest) / sum;
}

}  // namespace

void route_softmax(const float* logits, std::int64_t num_tokens, std::int64_t num_experts,
                   std::int64_t top_k, bool normalize, std::int32_t* ids, float* weights) {
#pragma omp parallel for schedule(static) if (num_tokens * num_experts > 8192)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    route_token(logits + token * num_experts, num_experts, top_k, normalize, ids + token * top_k,
                weights + token * top_k);
  }
}

std::int64_t sort_by_expert(const std::int32_t* slots, std::int64_t num_pairs,
                            std::int64_t num_slots, std::int32_t* expert_begin,
                            std::int32_t* pair_at, std::int32_t* place_of_pair) {
  std::fill_n(expert_begin, num_slots + 1, 0);
  for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
    if (slots[pair] >= 0) ++expert_begin[slots[pair] + 1];
  }
  for (std::int64_t slot = 0; slot < num_slots; ++slot) {
    expert_begin[slot + 1] += expert_begin[slot];
  }
  const std::int64_t num_placed = expert_begin[num_slots];
  // The begins serve as cursors while placing; afterwards each stands at its slot's end.
  for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
    place_of_pair[pair] = slots[pair] < 0 ? -1 : expert_begin[slots[pair]]++;
    if (slots[pair] >= 0) pair_at[place_of_pair[pair]] = static_cast<std::int32_t>(pair);
  }
  for (std::int64_t slot = num_slots; slot > 0; --slot) expert_begin[slot] = expert_begin[slot - 1];
  expert_begin[0] = 0;
  return num_placed;
}

void gather_rows(const float* x, std::int64_t x_stride, const std::int32_t* rows,
                 std::int64_t num_rows, std::int64_t size, float* y) {
#pragma omp parallel for schedule(static) if (num_rows * size > 65536)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    std::copy_n(x + rows[row] * x_stride, size, y + row * size);
  }
}

void combine(const float* pairs, const std::int32_t* place_of_pair, const float* weights,
             std::int64_t num_tokens, std::int64_t top_k, std::int64_t size, float* y) {
#pragma omp parallel for schedule(static) if (num_tokens * top_k * size > 32768)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    float* out = y + token * size;
    std::fill_n(out, size, 0.0f);
    for (std::int64_t k = 0; k < top_k; ++k) {
      const std::int32_t place = place_of_pair[token * top_k + k];
      if (place < 0) continue;
      const float weight = weights[token * top_k + k];
      const float* pair = pairs + place * size;
      for (std::int64_t i = 0; i < size; ++i) out[i] += weight * pair[i];
    }
  }
}

}  // namespace trireme::kernels::cpu
