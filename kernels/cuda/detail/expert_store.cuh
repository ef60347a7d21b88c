#pragma once

#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/mma.cuh"
#include "kernels/cuda/detail/silu.cuh"

namespace trireme::kernels::cuda {

/// Two neighbouring columns of one row.
template <typename T>
__device__ void store_two(T* y, std::int64_t row, std::int64_t columns, std::int64_t column,
                          float first, float second) {
  if (column >= columns) return;
  *reinterpret_cast<unsigned*>(y + row * columns + column) = pack_two(first, second, T{});
}

/// Stores 16 rows of a warp's sums, tiles of 8 columns beside each other from `column` on; a lane
/// has four of each, as mma leaves them.
template <typename T, int kSums>
__device__ void store_row_tile(const GroupedProduct& p, const ExpertTile& tile,
                               const float (&sums)[kSums], int warp_row, std::int64_t column) {
  const int lane = threadIdx.x % 32;
  T* y = static_cast<T*>(p.y);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = tile.begin + warp_row + half * 8 + lane / 4;
    if (row >= tile.end) continue;
    if (!p.has_silu_and_mul) {
#pragma unroll
      for (int j = 0; j < kSums / 4; ++j) {
        store_two(y, row, p.n, column + j * 8 + lane % 4 * 2, sums[j * 4 + half * 2],
                  sums[j * 4 + half * 2 + 1]);
      }
      continue;
    }
#pragma unroll
    for (int j = 0; j < kSums / 4; j += 4) {  // two tiles of gates, then two of ups
#pragma unroll
      for (int k = j; k < j + 2; ++k) {
        const float* gate = sums + k * 4 + half * 2;
        store_two(y, row, p.n / 2, column / 2 + (j / 2 + k - j) * 8 + lane % 4 * 2,
                  silu_times(gate[0], gate[8]), silu_times(gate[1], gate[9]));
      }
    }
  }
}

}  // namespace trireme::kernels::cuda
