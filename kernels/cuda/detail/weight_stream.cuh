#pragma once

#include <cstdint>

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/mma.cuh"

/// Products of few rows of x, bound by reading the weights once. Tiles of weight rows stream
/// through shared memory: the eight warps of a cta take turns along K, each has a ring of stages
/// that it alone fills and reads, and copies run ahead across tiles, so memory is kept busy also
/// while a tile is summed up. The first weights are under way before the kernels ahead in the
/// stream have ended.
///
/// A sum's order depends on K alone: a warp adds up its steps in order, then the warps' sums are
/// added in order. So a row has the same bits in every tiling and beside any other rows.
namespace trireme::kernels::cuda {

template <int kRows_, int kTokens_, int kStages_, int kCtas_>
struct StreamTiling {
  static constexpr int kRows = kRows_;      ///< of the weight in a tile; multiple of 8
  static constexpr int kTokens = kTokens_;  ///< rows of x, at most: 8 or 16
  static constexpr int kStages = kStages_, kCtas = kCtas_;
  static constexpr int kWarps = 8, kThreads = kWarps * 32;
  static constexpr int kStageBytes = (kRows + kTokens) * 128;
  static constexpr int kRingBytes = kStages * kStageBytes;
  /// Sums of a token stand so far apart that tokens fall into different banks.
  static constexpr int kSumStride = kRows == 8 ? 8 : kRows + 8;
  static constexpr int kSumsOfWarp = kTokens * kSumStride;
  static constexpr int kSharedBytes =
      kWarps * kRingBytes + 2 * kWarps * kSumsOfWarp * static_cast<int>(sizeof(float));
};

constexpr int kStepDepth = 64;                 ///< elements of K a step: 128 bytes a row
constexpr int kStepChunks = kStepDepth / 8;    ///< 16-byte chunks of it
constexpr int kRowsOfCopy = 32 / kStepChunks;  ///< rows that a warp copies at once

/// A tile of weight rows in two halves, which with silu_and_mul are gates and ups.
template <typename T>
struct WeightTile {
  const T* half[2];  ///< first rows; those of K elements follow
  int num_rows[2];   ///< rows that are there, 0 or less: none
};

/// Starts a copy of 16 bytes that stay in the L1 cache; otherwise as copy_async.
__device__ inline void copy_async_cached(unsigned to, const void* from, bool is_there) {
  const int bytes = is_there ? 16 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}

/// The copies of a warp: its steps of one tile after the other. Work gives
///   num_tiles(), k
///   weight_tile(tile)    WeightTile, half[0] always a valid address
///   x_row(tile, token)   the row of x, or null
template <typename T, typename Tile, typename Work>
class StreamCopies {
 public:
  __device__ explicit StreamCopies(const Work& work)
      : work_(work), num_steps_((work.k + kStepDepth - 1) / kStepDepth) {
    const int warp = threadIdx.x / 32;
    // A warp without steps has no copies.
    tile_ = warp < num_steps_ ? static_cast<int>(blockIdx.x) : work.num_tiles();
    step_ = warp;
    enter_tile();
  }

  __device__ bool has_next() const { return tile_ < work_.num_tiles(); }

  /// Starts the copies of the next step, if there is one, of the weight, of x or of both.
  template <bool kOfWeight, bool kOfX>
  __device__ void start_next(unsigned stage) {
    if (!has_next()) return;
    if constexpr (kOfWeight) copy_weight(stage);
    if constexpr (kOfX) copy_x(stage);
    step_ += Tile::kWarps;
    if (step_ < num_steps_) return;
    step_ = threadIdx.x / 32;
    tile_ += gridDim.x;
    enter_tile();
  }

 private:
  static constexpr int kWeightCopies = Tile::kRows / kRowsOfCopy;
  static constexpr int kCopiesOfHalf = kWeightCopies / 2;
  static constexpr int kTokenCopies = Tile::kTokens / kRowsOfCopy;

  __device__ void enter_tile() {
    if (!has_next()) return;
    const int row = threadIdx.x % 32 / kStepChunks, chunk = threadIdx.x % kStepChunks;
    const WeightTile<T> tile = work_.weight_tile(tile_);
    fallback_ = tile.half[0];
    there_ = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      half_[half] = tile.half[half] + static_cast<std::int64_t>(row) * work_.k + chunk * 8;
#pragma unroll
      for (int i = 0; i < kCopiesOfHalf; ++i) {
        const bool is_there = i * kRowsOfCopy + row < tile.num_rows[half];
        there_ |= (is_there ? 1u : 0u) << (half * kCopiesOfHalf + i);
      }
    }
#pragma unroll
    for (int i = 0; i < kTokenCopies; ++i) {
      const T* x = work_.x_row(tile_, i * kRowsOfCopy + row);
      x_[i] = x + chunk * 8;
      there_ |= (x != nullptr ? 1u : 0u) << (kWeightCopies + i);
    }
  }

  /// The bits of there_ in this step.
  __device__ unsigned there_in_step() const {
    return step_ * kStepDepth + static_cast<int>(threadIdx.x) % kStepChunks * 8 < work_.k ? there_
                                                                                          : 0;
  }

  __device__ void copy_weight(unsigned stage) const {
    const int row = threadIdx.x % 32 / kStepChunks, chunk = threadIdx.x % kStepChunks;
    const unsigned there = there_in_step();
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const bool is_there = (there >> i & 1) != 0;
      const std::int64_t rows = i % kCopiesOfHalf * kRowsOfCopy;
      const T* from = half_[i / kCopiesOfHalf] + rows * work_.k + step_ * kStepDepth;
      copy_async(stage + swizzled<kStepChunks>(i * kRowsOfCopy + row, chunk),
                 is_there ? from : fallback_, is_there);
    }
  }

  __device__ void copy_x(unsigned stage) const {
    const int row = threadIdx.x % 32 / kStepChunks, chunk = threadIdx.x % kStepChunks;
    const unsigned there = there_in_step();
#pragma unroll
    for (int i = 0; i < kTokenCopies; ++i) {
      const bool is_there = (there >> (kWeightCopies + i) & 1) != 0;
      copy_async_cached(stage + swizzled<kStepChunks>(Tile::kRows + i * kRowsOfCopy + row, chunk),
                        is_there ? x_[i] + step_ * kStepDepth : fallback_, is_there);
    }
  }

  const Work& work_;
  int num_steps_, tile_, step_;
  const T* half_[2];  ///< this lane's chunk in its first row of either half
  const T* x_[kTokenCopies];
  const T* fallback_ = nullptr;  ///< what copies that read nothing point at
  unsigned there_ = 0;           ///< bits: copies of weight rows, then of x, whose row is there
};

/// sums += x · wᵀ of a step. The weight is the operand with eight columns, x the one with sixteen
/// rows, whose upper half is zero for eight tokens.
template <typename T, typename Tile>
__device__ void multiply_step(float (&sums)[Tile::kRows / 8][4], unsigned stage) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // of the step, two products deep
    unsigned a[2][4] = {};
    if constexpr (Tile::kTokens == 8) {
      unsigned x[4];
      load_matrices(x, stage + swizzled<kStepChunks>(Tile::kRows + lane % 8, half * 4 + lane / 8));
      a[0][0] = x[0], a[0][2] = x[1];
      a[1][0] = x[2], a[1][2] = x[3];
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices(a[i], stage + swizzled<kStepChunks>(Tile::kRows + lane % 16,
                                                          half * 4 + i * 2 + lane / 16));
      }
    }
#pragma unroll
    for (int j = 0; j < Tile::kRows / 8; ++j) {
      unsigned b[4];
      load_matrices(b, stage + swizzled<kStepChunks>(j * 8 + lane % 8, half * 4 + lane / 8));
      mma(sums[j], a[0], b[0], b[1], T{});
      mma(sums[j], a[1], b[2], b[3], T{});
    }
  }
}

template <typename Tile>
__device__ void put_sums(float* of_warp, const float (&sums)[Tile::kRows / 8][4]) {
  const int token = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < Tile::kRows / 8; ++j) {
    float* to = of_warp + token * Tile::kSumStride + j * 8 + column;
    *reinterpret_cast<float2*>(to) = make_float2(sums[j][0], sums[j][1]);
    if constexpr (Tile::kTokens == 16) {
      *reinterpret_cast<float2*>(to + 8 * Tile::kSumStride) = make_float2(sums[j][2], sums[j][3]);
    }
  }
}

/// The whole sums of a tile, those of all warps.
template <typename Tile>
struct TileSums {
  const float* of_first_warp;

  __device__ float operator()(int token, int row) const {
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < Tile::kWarps; ++warp) {
      sum += of_first_warp[warp * Tile::kSumsOfWarp + token * Tile::kSumStride + row];
    }
    return sum;
  }
};

/// Computes the tiles blockIdx.x, blockIdx.x + gridDim.x, ...; all threads of the cta call it.
/// Beyond what StreamCopies asks of it, Work has store(tile, sums), called by all threads. What it
/// reads before, and the weights, are read before earlier kernels have ended.
///   memory  Tile::kSharedBytes, aligned to 128
template <typename T, typename Tile, typename Work>
__device__ void stream_tiles(const Work& work, unsigned char* memory) {
  const int warp = threadIdx.x / 32;
  const unsigned ring = shared_address(memory) + warp * Tile::kRingBytes;
  float* all_sums = reinterpret_cast<float*>(memory + Tile::kWarps * Tile::kRingBytes);
  const int num_steps = (work.k + kStepDepth - 1) / kStepDepth;
  StreamCopies<T, Tile, Work> copies(work), ahead(copies);
#pragma unroll
  for (int i = 0; i < Tile::kStages; ++i) {
    ahead.template start_next<true, false>(ring + i * Tile::kStageBytes);
  }
  wait_for_earlier_kernels();
#pragma unroll
  for (int i = 0; i < Tile::kStages; ++i) {
    copies.template start_next<false, true>(ring + i * Tile::kStageBytes);
    commit_copies();
  }
  int stage = 0, buffer = 0;
  for (int tile = blockIdx.x; tile < work.num_tiles(); tile += gridDim.x) {
    float sums[Tile::kRows / 8][4] = {};
    for (int step = warp; step < num_steps; step += Tile::kWarps) {
      if (!copies.has_next()) start_next_kernel();
      wait_for_copies<Tile::kStages - 1>();
      __syncwarp();
      multiply_step<T, Tile>(sums, ring + stage * Tile::kStageBytes);
      // All lanes have left the stage, into which the next copies go.
      __syncwarp();
      copies.template start_next<true, true>(ring + stage * Tile::kStageBytes);
      commit_copies();
      stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
    }
    float* sums_of_tile = all_sums + buffer * Tile::kWarps * Tile::kSumsOfWarp;
    put_sums<Tile>(sums_of_tile + warp * Tile::kSumsOfWarp, sums);
    // One barrier a tile is enough: a buffer is written again behind the next tile's.
    __syncthreads();
    work.store(tile, TileSums<Tile>{sums_of_tile});
    buffer ^= 1;
  }
}

}  // namespace trireme::kernels::cuda
