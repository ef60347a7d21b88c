#pragma once

#include "kernels/cuda/detail/mma.cuh"

/// One warp's 16 rows of queries against a tile of keys and values in shared memory.
namespace trireme::kernels::cuda {

inline constexpr float kLog2OfE = 1.4426950408889634f;

/// 2 to the power of x; what is too small for a normal number is zero.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// The running state of 16 rows; a lane has rows lane / 4 and lane / 4 + 8. Scores are in log2.
template <int kDim>
struct SoftmaxRows {
  float out[kDim / 8][4] = {};
  float largest[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  ///< of this lane's columns alone
};

/// scores [16, kKeys] = queries · keysᵀ; kDim / 8 chunks a row of keys.
template <typename T, int kDim, int kKeys>
__device__ void multiply_keys(float (&scores)[kKeys / 8][4], const unsigned (&q)[kDim / 16][4],
                              unsigned keys) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kKeys / 8; j += 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[j][i] = scores[j + 1][i] = 0;
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      unsigned b[4];
      load_matrices(
          b, keys + swizzled<kDim / 8>(j * 8 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
      mma(scores[j], q[step], b[0], b[1], T{});
      mma(scores[j + 1], q[step], b[2], b[3], T{});
    }
  }
}

/// Turns scores into weights relative to the new maximum and shrinks what was summed before.
template <int kDim, int kTiles>
__device__ void update_softmax(SoftmaxRows<kDim>& rows, float (&scores)[kTiles][4], float scale) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = -INFINITY;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      most = fmaxf(most, fmaxf(scores[j][half * 2], scores[j][half * 2 + 1]));
    }
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2)) * scale;
    const float before = rows.largest[half], now = fmaxf(before, most);
    // A row that has seen no key yet: subtract 0 from its -inf.
    const float base = now == -INFINITY ? 0.0f : now;
    const float shrink = power_of_two(before - base);
    rows.largest[half] = now;
    rows.sum[half] *= shrink;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int i = half * 2; i < half * 2 + 2; ++i) {
        scores[j][i] = power_of_two(scores[j][i] * scale - base);
        rows.sum[half] += scores[j][i];
      }
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      rows.out[j][half * 2] *= shrink;
      rows.out[j][half * 2 + 1] *= shrink;
    }
  }
}

/// out += weights [16, kKeys] · values [kKeys, kDim].
template <typename T, int kDim, int kKeys>
__device__ void add_values(SoftmaxRows<kDim>& rows, const float (&weights)[kKeys / 8][4],
                           unsigned values) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    const auto& left = weights[step * 2];
    const auto& right = weights[step * 2 + 1];
    const unsigned a[4] = {pack_two(left[0], left[1], T{}), pack_two(left[2], left[3], T{}),
                           pack_two(right[0], right[1], T{}), pack_two(right[2], right[3], T{})};
#pragma unroll
    for (int j = 0; j < kDim / 8; j += 2) {
      unsigned b[4];
      load_matrices_transposed(b,
                               values + swizzled<kDim / 8>(step * 16 + lane % 16, j + lane / 16));
      mma(rows.out[j], a, b[0], b[1], T{});
      mma(rows.out[j + 1], a, b[2], b[3], T{});
    }
  }
}

/// The sums of a row over its four lanes.
template <int kDim>
__device__ void finish_sums(SoftmaxRows<kDim>& rows) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    rows.sum[half] += __shfl_xor_sync(0xffffffffu, rows.sum[half], 1);
    rows.sum[half] += __shfl_xor_sync(0xffffffffu, rows.sum[half], 2);
  }
}

}  // namespace trireme::kernels::cuda
