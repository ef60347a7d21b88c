#include "kernels/moe.h"

#include <algorithm>

#include "kernels/cpu/detail/simd_math.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

/// The top_k largest logits, largest first, into ids and weights.
void choose_experts(const float* logits, std::int64_t num_experts, std::int64_t top_k,
                    std::int32_t* ids, float* weights) {
  // Insertion into a sorted list: an equal logit never passes one with a lower id.
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    const float logit = logits[expert];
    std::int64_t place = std::min(expert, top_k);
    if (place == top_k && !(logit > weights[top_k - 1])) continue;
    while (place > 0 && logit > weights[place - 1]) --place;
    for (std::int64_t k = std::min(expert, top_k - 1); k > place; --k) {
      ids[k] = ids[k - 1];
      weights[k] = weights[k - 1];
    }
    ids[place] = static_cast<std::int32_t>(expert);
    weights[place] = logit;
  }
}

/// Sum of e^(x - largest).
TRIREME_INLINE float sum_of_exponentials(const float* x, std::int64_t count, float largest) {
  simd::Floats<16> sums = {};
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) sums += simd::exp<16>(simd::load<16>(x + i) - largest);
  for (; i < count; ++i) sums[i % 16] += simd::exp<4>(simd::Floats<4>{} + (x[i] - largest))[0];
  return simd::sum_lanes<16>(sums);
}

float sum_generic(const float* x, std::int64_t count, float largest) {
  return sum_of_exponentials(x, count, largest);
}
TRIREME_AVX2 float sum_avx2(const float* x, std::int64_t count, float largest) {
  return sum_of_exponentials(x, count, largest);
}
TRIREME_AVX512 float sum_avx512(const float* x, std::int64_t count, float largest) {
  return sum_of_exponentials(x, count, largest);
}

}  // namespace

void route_softmax(const float* logits, std::int64_t num_tokens, std::int64_t num_experts,
                   std::int64_t top_k, bool normalize, std::int32_t* ids, float* weights,
                   InstructionSet set) {
  const auto sum_of = choose(set, sum_generic, sum_avx2, sum_avx512);
#pragma omp parallel for schedule(static) if (num_tokens * num_experts > kSmallWork / 4)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const float* row = logits + token * num_experts;
    float* chosen = weights + token * top_k;
    choose_experts(row, num_experts, top_k, ids + token * top_k, chosen);
    const float largest = chosen[0];
    const float sum =
        normalize ? sum_of(chosen, top_k, largest) : sum_of(row, num_experts, largest);
    for (std::int64_t k = 0; k < top_k; ++k) {
      chosen[k] = simd::exp<4>(simd::Floats<4>{} + (chosen[k] - largest))[0] / sum;
    }
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
#pragma omp parallel for schedule(static) if (num_rows * size > 2 * kSmallWork)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    std::copy_n(x + rows[row] * x_stride, size, y + row * size);
  }
}

void combine(const float* pairs, const std::int32_t* place_of_pair, const float* weights,
             std::int64_t num_tokens, std::int64_t top_k, std::int64_t size, float* y) {
#pragma omp parallel for schedule(static) if (num_tokens * top_k * size > kSmallWork)
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
