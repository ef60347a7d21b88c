#pragma once

#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/mma.cuh"

namespace trireme::kernels::cuda {

inline constexpr int kDepth = 64;           ///< elements of K a stage
inline constexpr int kChunks = kDepth / 8;  ///< 16-byte chunks of it

/// The copies of a stage: a thread copies the same chunk of every kStep-th row.
template <typename T, typename Tile>
struct StageCopy {
  static constexpr int kStep = Tile::kThreads / kChunks;
  static constexpr int kRowCopies = (Tile::kRows + kStep - 1) / kStep;
  static constexpr int kColumnCopies = Tile::kColumns / kStep;
  const T* x[kRowCopies];
  const T* w[kColumnCopies];
  unsigned has_x = 0, has_w = 0;  ///< bits: rows that are there

  __device__ StageCopy(const GroupedProduct& p, const ExpertTile& tile, std::int64_t column) {
    const int first = threadIdx.x / kChunks;
    const T* all_x = static_cast<const T*>(p.x);
    const T* weight = static_cast<const T*>(p.weight) + tile.slot * p.n * p.k;
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int place = tile.begin + first + i * kStep;
      const bool is_there = first + i * kStep < Tile::kRows && place < tile.end;
      const std::int64_t row = is_there ? row_of_place(p, place) : 0;
      x[i] = all_x + row * p.x_stride;
      has_x |= (is_there ? 1u : 0u) << i;
    }
#pragma unroll
    for (int i = 0; i < kColumnCopies; ++i) {
      const std::int64_t at = column + first + i * kStep;
      const bool is_there = at < p.n;
      w[i] = weight + (is_there ? weight_row(p, at) : 0) * p.k;
      has_w |= (is_there ? 1u : 0u) << i;
    }
  }

  __device__ void start(unsigned stage, std::int64_t k_begin, std::int64_t k) const {
    const int first = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
    const std::int64_t at = k_begin + chunk * 8;
    const bool is_inside = at < k;
    const std::int64_t offset = is_inside ? at : 0;
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int row = first + i * kStep;
      if (Tile::kRows % kStep != 0 && row >= Tile::kRows) break;
      copy_async(stage + swizzled<kChunks>(row, chunk), x[i] + offset,
                 is_inside && (has_x >> i & 1) != 0);
    }
#pragma unroll
    for (int i = 0; i < kColumnCopies; ++i) {
      copy_async(stage + swizzled<kChunks>(Tile::kRows + first + i * kStep, chunk), w[i] + offset,
                 is_inside && (has_w >> i & 1) != 0);
    }
  }
};

}  // namespace trireme::kernels::cuda
