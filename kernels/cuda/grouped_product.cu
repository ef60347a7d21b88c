#include "kernels/cuda/detail/expert_copy.cuh"
#include "kernels/cuda/detail/expert_store.cuh"
#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/mma.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/moe.h"

namespace trireme::kernels::cuda {
namespace {

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

/// The four sums of tile j.
template <int kSums>
__device__ float (&tile_of(float (&sums)[kSums], int j))[4] {
  return *reinterpret_cast<float(*)[4]>(sums + j * 4);
}

/// sums += x · wᵀ of one stage, for the warp's part.
template <typename T, typename Tile, int kRowTiles, int kColumnTiles>
__device__ void multiply_stage(float (&sums)[kRowTiles][kColumnTiles * 4], unsigned stage,
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
        mma(tile_of(sums[i], j), a[i], b[0], b[1], T{});
        mma(tile_of(sums[i], j + 1), a[i], b[2], b[3], T{});
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
  float sums[Tile::kWarpRows / 16][Tile::kWarpColumns / 2] = {};
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
    multiply_stage<T, Tile, Tile::kWarpRows / 16, Tile::kWarpColumns / 8>(
        sums, base + step % Tile::kStages * Tile::kStageBytes, warp_row, warp_column);
  }
#pragma unroll
  for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
    store_row_tile<T>(p, tile, sums[i], warp_row + i * 16, column + warp_column);
  }
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
  if (!p.is_invariant && rows_of_expert <= 16) return launch<T, FewRows>(p, stream);
  if (takes_grouped_product_pipelined(p)) return grouped_product_pipelined(p, stream);
  if (!p.is_invariant && rows_of_expert <= 80) return launch<T, SomeRows>(p, stream);
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
  } else if (!arguments.is_invariant && takes_grouped_product_small(arguments)) {
    grouped_product_small(arguments, stream);
  } else if (arguments.dtype == DType::bfloat16) {
    launch_for_rows<__nv_bfloat16>(arguments, stream);
  } else {
    launch_for_rows<__half>(arguments, stream);
  }
  check_launch("grouped_product");
}

}  // namespace trireme::kernels::cuda
