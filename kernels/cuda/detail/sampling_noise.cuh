#pragma once

#include "kernels/cuda/detail/sampling_logits.cuh"

/// Gumbel noise without state: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011), the same words and numbers as the CPU's.
namespace trireme::kernels::cuda {

struct Noise {
  std::uint64_t key;
  std::uint64_t position;

  /// The words of ids 4 · quad to 4 · quad + 3.
  __device__ uint4 words(unsigned quad) const {
    uint4 counter = {static_cast<unsigned>(position), static_cast<unsigned>(position >> 32), quad,
                     0};
    unsigned key0 = static_cast<unsigned>(key), key1 = static_cast<unsigned>(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter.x;
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter.z;
      counter = {static_cast<unsigned>(product1 >> 32) ^ counter.y ^ key0,
                 static_cast<unsigned>(product1),
                 static_cast<unsigned>(product0 >> 32) ^ counter.w ^ key1,
                 static_cast<unsigned>(product0)};
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    return counter;
  }
  __device__ unsigned word(int id) const {
    const uint4 four = words(static_cast<unsigned>(id) / 4);
    const int which = id % 4;
    return which == 0 ? four.x : which == 1 ? four.y : which == 2 ? four.z : four.w;
  }
};

/// The noise of a word: in double, rounded once.
__device__ inline float gumbel(unsigned word) {
  const double u = (static_cast<double>(word >> 9) + 0.5) * 0x1p-23;
  return static_cast<float>(-log(-log(u)));
}

/// 1 − u; exact in float.
__device__ inline float one_minus_u(unsigned word) {
  return (2.0f - __uint_as_float(word >> 9 | 0x3f800000u)) - 0x1p-24f;
}

/// The noise within 4e-6.
__device__ inline float gumbel_nearly(unsigned word) {
  return -logf(-logf(1.0f - one_minus_u(word)));
}

/// No noise is larger, none is smaller.
constexpr float kMostNoise = 17.0f, kLeastNoise = -2.82f;

/// More than float32 loses in a value + noise near x, gumbel_nearly's error with it.
__device__ inline float slack_near(float x) { return (fabsf(x) + 32.0f) * 3e-7f; }

/// Whether value + noise may reach `bound`, which is finite; cheap, and never no for one that does:
/// g ≥ bound − value needs 1 − u ≤ −ln u ≤ exp(value − bound).
__device__ inline bool may_reach(float value, unsigned word, float bound) {
  const float difference = fminf(value - bound + slack_near(bound), 1.0f);
  return one_minus_u(word) <= __expf(difference) * 1.0001f;
}

/// The best value + noise among the quads first, first + blockDim.x, ... of each thread; called by
/// all threads of a cta of whole warps, each gets its own best (0: none). Most ids are decided
/// without their noise, nearly all others in float32; only what is within rounding of the best is
/// computed in double.
///   values   quad index -> four values, −inf where an id cannot be drawn; never NaN
///   largest  of all values of the cta, above −inf
template <typename Values>
__device__ Best draw(const Values& values, int first_quad, int end_quad, float largest,
                     const Noise& noise) {
  const auto step = static_cast<int>(blockDim.x);
  const int own_quad = first_quad + static_cast<int>(threadIdx.x);
  Best best = 0;
  if (largest == INFINITY) {
    for (int quad = own_quad; quad < end_quad; quad += step) {
      const Quad four = values(quad);
      for (int i = 3; i >= 0; --i) {
        if (four.at[i] == INFINITY) best = Larger()(best, best_of(INFINITY, 4 * quad + i));
      }
    }
    return best;
  }
  // The cta's best is not below `bound`, which rises as the warp finds better ones.
  float bound = largest - (-kLeastNoise + slack_near(largest));
  float nearly = -INFINITY;
#pragma unroll 1
  for (int base = first_quad; base < end_quad; base += step) {
    const int quad = base + static_cast<int>(threadIdx.x);
    Quad four = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    if (quad < end_quad) four = values(quad);
    const float most = fmaxf(fmaxf(four.at[0], four.at[1]), fmaxf(four.at[2], four.at[3]));
    if (!__any_sync(kWholeWarp, most + kMostNoise >= bound)) continue;
    const uint4 words = noise.words(static_cast<unsigned>(quad));
    const unsigned word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (may_reach(four.at[i], word[i], bound)) {
        nearly = fmaxf(nearly, four.at[i] + gumbel_nearly(word[i]));
      }
    }
    const float of_warp = warp_reduce(nearly, Larger());
    bound = fmaxf(bound, of_warp - slack_near(of_warp));
  }
  const float of_cta = cta_reduce(nearly, Larger());
  const float candidate = of_cta - 2 * slack_near(of_cta);
  if (nearly < candidate) return best;
#pragma unroll 1
  for (int quad = own_quad; quad < end_quad; quad += step) {
    const Quad four = values(quad);
    const uint4 words = noise.words(static_cast<unsigned>(quad));
    const unsigned word[4] = {words.x, words.y, words.z, words.w};
    for (int i = 0; i < 4; ++i) {
      if (four.at[i] > -INFINITY && may_reach(four.at[i], word[i], candidate)) {
        best = Larger()(best, best_of(four.at[i] + gumbel(word[i]), 4 * quad + i));
      }
    }
  }
  return best;
}

}  // namespace trireme::kernels::cuda
