#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

/// A row of logits, its order, and what is reduced over it. NaN counts as −inf except in the order.
namespace trireme::kernels::cuda {

constexpr unsigned kWholeWarp = 0xffffffffu;

/// Four neighbouring logits: ids 4 · quad to 4 · quad + 3.
struct Quad {
  float at[4];
};

/// One row; is_wide: quads may be loaded at once.
struct RowLogits {
  const float* values;
  int vocab_size;
  bool is_wide;

  __device__ RowLogits(const float* logits, std::int64_t stride, std::int64_t row,
                       std::int64_t size)
      : values(logits + row * stride),
        vocab_size(static_cast<int>(size)),
        is_wide(reinterpret_cast<std::uintptr_t>(values) % 16 == 0) {}

  __device__ int num_quads() const { return (vocab_size + 3) / 4; }
  /// Ids behind the last are −inf.
  __device__ Quad load(int quad) const {
    if (is_wide && 4 * quad + 4 <= vocab_size) return load_whole(quad);
    Quad result;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      result.at[i] = 4 * quad + i < vocab_size ? values[4 * quad + i] : -INFINITY;
    }
    return result;
  }
  /// Quads first, first + step, ...: all of them under way at once.
  template <int kCount>
  __device__ void load(int first, int step, Quad (&quads)[kCount]) const {
    if (is_wide && 4 * (first + (kCount - 1) * step) + 4 <= vocab_size) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) quads[i] = load_whole(first + i * step);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) quads[i] = load(first + i * step);
    }
  }

 private:
  __device__ Quad load_whole(int quad) const {
    const float4 four = *reinterpret_cast<const float4*>(values + 4 * quad);
    return {four.x, four.y, four.z, four.w};
  }
};

__device__ inline float without_nan(float x) { return fmaxf(x, -INFINITY); }

/// What a draw with temperature works on.
__device__ inline float scaled(float logit, float temperature) {
  return temperature == 1.0f ? logit : logit / temperature;
}

/// Ascends with x; −0 is 0, NaN is below −inf.
__device__ inline unsigned key_of(float x) {
  if (isnan(x)) return 0;
  if (x == 0.0f) x = 0.0f;
  const unsigned bits = __float_as_uint(x);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
__device__ inline float value_of(unsigned key) {
  return __uint_as_float(key >> 31 != 0 ? key & 0x7fffffffu : ~key);
}

/// A value and its id in one word: the larger word has the larger value, of equal ones the lower
/// id.
using Best = unsigned long long;
constexpr int kNoId = 0x7fffffff;
__device__ inline Best best_of(float value, int id) {
  return static_cast<Best>(key_of(value)) << 32 | static_cast<unsigned>(kNoId - id);
}
__device__ inline float value_of(Best best) { return value_of(static_cast<unsigned>(best >> 32)); }
__device__ inline int id_of(Best best) {
  return kNoId - static_cast<int>(static_cast<unsigned>(best));
}

struct Larger {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Plus {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

template <typename T, typename Operation>
__device__ T warp_reduce(T x, Operation operation) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    x = operation(x, __shfl_xor_sync(kWholeWarp, x, lanes));
  }
  return x;
}

/// Over all threads of a cta of whole warps, in every thread, always in the same order.
template <typename T, typename Operation>
__device__ T cta_reduce(T x, Operation operation) {
  __shared__ T of_warp[32];
  const int num_warps = static_cast<int>(blockDim.x) / 32;
  x = warp_reduce(x, operation);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  T result = of_warp[0];
  for (int warp = 1; warp < num_warps; ++warp) result = operation(result, of_warp[warp]);
  __syncthreads();
  return result;
}

/// exp(x − largest), also where both are +inf; `largest` is above −inf, x is not NaN.
__device__ inline float exp_below(float x, float largest) {
  return x == largest ? 1.0f : expf(x - largest);
}
__device__ inline double exp_below(double x, double largest) {
  return x == largest ? 1.0 : exp(x - largest);
}

/// log Σ exp as largest value and Σ exp(value − largest).
struct LogSumExp {
  float largest;
  double sum;

  /// Log-probability of an id with that logit.
  __device__ float logprob(float logit) const {
    if (!(logit > -INFINITY)) return -INFINITY;
    const double below =
        logit == largest ? 0.0 : static_cast<double>(logit) - static_cast<double>(largest);
    return static_cast<float>(below - log(sum));
  }
};

}  // namespace trireme::kernels::cuda
