#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/mma.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/moe.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kDepth = 64;           ///< elements of K a stage
constexpr int kChunks = kDepth / 8;  ///< 16-byte chunks of it

/// A cta computes kRows places x kColumns columns in warps of kWarpRows x kWarpColumns.
template <int kRows_, int kColumns_, int kWarpRows_, int kWarpColumns_, int kStages_, int kCtas_>
struct Tiling {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_;
  static constexpr int kStages = kStages_, kCtas = kCtas_;
  static constexpr int kThreads = kRows / kWarpRows * (kColumns / kWarpColumns) * 32;
  static constexpr int kStageBytes = (kRows + kColumns) * kDepth * 2;
  static constexpr int kSharedBytes = kStages * kStageBytes;
};
using FewRows = Tiling<16, 128, 16, 32, 4, 3>;
using SomeRows = Tiling<64, 128, 32, 64, 3, 2>;
using ManyRows = Tiling<128, 128, 64, 32, 3, 2>;

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

/// sums += x · wᵀ of one stage, for the warp's part.
template <typename T, typename Tile, int kRowTiles, int kColumnTiles>
__device__ void multiply_stage(float (&sums)[kRowTiles][kColumnTiles][4], unsigned stage,
                               int warp_row, int warp_column) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    unsigned a[kRowTiles][4];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      load_matrices(a[i],
                    stage + swizzled<kChunks>(warp_row + i * 16 + lane % 16, step * 2 + lane / 16));
    }
#pragma unroll
    for (int j = 0; j < kColumnTiles; j += 2) {
      unsigned b[4];
      const int row = Tile::kRows + warp_column + j * 8 + lane / 16 * 8 + lane % 8;
      load_matrices(b, stage + swizzled<kChunks>(row, step * 2 + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        mma(sums[i][j], a[i], b[0], b[1], T{});
        mma(sums[i][j + 1], a[i], b[2], b[3], T{});
      }
    }
  }
}

__device__ inline float silu_times(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

/// Two neighbouring columns of one row.
template <typename T>
__device__ void store_two(T* y, std::int64_t row, std::int64_t columns, std::int64_t column,
                          float first, float second) {
  if (column >= columns) return;
  *reinterpret_cast<unsigned*>(y + row * columns + column) = pack_two(first, second, T{});
}

template <typename T, int kRowTiles, int kColumnTiles>
__device__ void store_sums(const GroupedProduct& p, const ExpertTile& tile,
                           const float (&sums)[kRowTiles][kColumnTiles][4], int warp_row,
                           std::int64_t column) {
  const int lane = threadIdx.x % 32;
  T* y = static_cast<T*>(p.y);
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = tile.begin + warp_row + i * 16 + half * 8 + lane / 4;
      if (row >= tile.end) continue;
      if (!p.has_silu_and_mul) {
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          store_two(y, row, p.n, column + j * 8 + lane % 4 * 2, sums[i][j][half * 2],
                    sums[i][j][half * 2 + 1]);
        }
        continue;
      }
#pragma unroll
      for (int j = 0; j < kColumnTiles; j += 4) {  // two tiles of gates, then two of ups
#pragma unroll
        for (int k = j; k < j + 2; ++k) {
          store_two(y, row, p.n / 2, column / 2 + (j / 2 + k - j) * 8 + lane % 4 * 2,
                    silu_times(sums[i][k][half * 2], sums[i][k + 2][half * 2]),
                    silu_times(sums[i][k][half * 2 + 1], sums[i][k + 2][half * 2 + 1]));
        }
      }
    }
  }
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kCtas)
    grouped_product_kernel(const GroupedProduct p) {
  extern __shared__ __align__(128) unsigned char memory[];
  const ExpertTile tile = find_expert_tile<Tile::kRows>(
      p.expert_begin, static_cast<int>(p.num_slots), static_cast<int>(blockIdx.y));
  if (tile.slot < 0) return;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * Tile::kColumns;
  const StageCopy<T, Tile> copy(p, tile, column);
  const int num_steps = static_cast<int>((p.k + kDepth - 1) / kDepth);
  const unsigned base = shared_address(memory);
#pragma unroll
  for (int stage = 0; stage < Tile::kStages - 1; ++stage) {
    if (stage < num_steps) copy.start(base + stage * Tile::kStageBytes, stage * kDepth, p.k);
    commit_copies();
  }

  const int warp = threadIdx.x / 32, warps_across = Tile::kColumns / Tile::kWarpColumns;
  const int warp_row = warp / warps_across * Tile::kWarpRows;
  const int warp_column = warp % warps_across * Tile::kWarpColumns;
  float sums[Tile::kWarpRows / 16][Tile::kWarpColumns / 8][4] = {};
  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies<Tile::kStages - 2>();
    __syncthreads();
    // Into the stage that everybody has left: its last reader was the step before this barrier.
    const int next = step + Tile::kStages - 1;
    if (next < num_steps) {
      copy.start(base + next % Tile::kStages * Tile::kStageBytes,
                 static_cast<std::int64_t>(next) * kDepth, p.k);
    }
    commit_copies();
    multiply_stage<T, Tile>(sums, base + step % Tile::kStages * Tile::kStageBytes, warp_row,
                            warp_column);
  }
  store_sums<T>(p, tile, sums, warp_row, column + warp_column);
}

template <typename T, typename Tile>
void launch(const GroupedProduct& p, Stream stream) {
  const auto kernel = grouped_product_kernel<T, Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const dim3 grid(static_cast<unsigned>(ceil_div(p.n, Tile::kColumns)),
                  static_cast<unsigned>(num_expert_tiles<Tile::kRows>(p)));
  kernel<<<grid, Tile::kThreads, Tile::kSharedBytes, stream>>>(p);
}

template <typename T>
void launch_for_rows(const GroupedProduct& p, Stream stream) {
  const std::int64_t rows_of_expert = p.num_places / p.num_slots;
  if (rows_of_expert <= 16) return launch<T, FewRows>(p, stream);
  if (rows_of_expert <= 80) return launch<T, SomeRows>(p, stream);
  launch<T, ManyRows>(p, stream);
}

bool fits_tensor_cores(const GroupedProduct& p) {
  return p.dtype != DType::float32 && p.n % (p.has_silu_and_mul ? 32 : 2) == 0 &&
         vector_width<__half>({p.x, p.weight, p.y}, {p.x_stride, p.k}) == 8;
}

}  // namespace

void grouped_product(const GroupedProduct& arguments, Stream stream) {
  TRIREME_CHECK(arguments.num_slots >= 1 && arguments.num_slots <= 1024 && arguments.top_k >= 1,
                "num_slots=", arguments.num_slots, " top_k=", arguments.top_k);
  if (arguments.num_places == 0 || arguments.n == 0) return;
  if (!fits_tensor_cores(arguments)) {
    grouped_product_plain(arguments, stream);
  } else if (arguments.dtype == DType::bfloat16) {
    launch_for_rows<__nv_bfloat16>(arguments, stream);
  } else {
    launch_for_rows<__half>(arguments, stream);
  }
  check_launch("grouped_product");
}

}  // namespace trireme::kernels::cuda
