#include <algorithm>

#include "kernels/cuda/detail/boxed_array.h"
#include "kernels/cuda/detail/large_product.h"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/mma.cuh"
#include "kernels/cuda/detail/pipeline.cuh"
#include "kernels/cuda/detail/wgmma_shapes.cuh"

/// A cta goes through tiles of 128 rows x 256 columns, with silu_and_mul 128 gates and their ups,
/// so that a thread has both of a column. One thread loads stages of 64 elements of k; two
/// warpgroups multiply 64 rows each. The two ctas of a cluster have the same columns of neighbouring
/// rows: each brings half of the weights for both.
namespace trireme::kernels::cuda {
namespace {

constexpr int kRows = 128, kColumns = 256, kHalf = kColumns / 2, kGroupRows = 64;
constexpr int kDepth = 64, kRowBytes = kDepth * 2, kChunks = kRowBytes / 16;
constexpr int kStages = 4;
constexpr int kRowsBytes = kRows * kRowBytes, kHalfBytes = kHalf * kRowBytes;
constexpr int kStageBytes = kRowsBytes + 2 * kHalfBytes;
constexpr int kStoreBytes = kGroupRows * kRowBytes;  ///< 64 columns of a warpgroup
constexpr int kStores = 2;                           ///< under way at once
constexpr int kSharedBytes = kStages * kStageBytes + 2 * kStores * kStoreBytes + 1024;
constexpr int kClusterCtas = 2;
constexpr int kRowTilesAtOnce = 8;  ///< pairs of tiles whose rows stay in the L2 cache

constexpr int kThreads = 384, kMultiplyWarps = 8;
constexpr int kLoadRegisters = 40, kMultiplyRegisters = 232;  // of 168 a thread at the launch

/// Number of the first warpgroup's barrier; the second's follows.
constexpr int kGroupBarrier = 1;

struct Maps {
  CUtensorMap x, weights, y;
};

struct Shape {
  int row_tiles, column_tiles, steps;  ///< row tiles: of a whole cluster
  int column_step;                     ///< columns of y a tile
  int second_half;                     ///< weight rows from a tile's first half to its second
};

/// Barriers in a cta's shared memory.
struct Shared {
  std::uint64_t full[kStages], empty[kStages];
};

struct Tile {
  int row, column;  ///< in tiles
};

/// Tiles of kRowTilesAtOnce row tiles lie behind each other for all columns.
__device__ inline Tile tile_of(const Shape& shape, int number) {
  const int in_band = kRowTilesAtOnce * shape.column_tiles;
  const int band = number / in_band, at = number % in_band;
  const int rows = min(kRowTilesAtOnce, shape.row_tiles - band * kRowTilesAtOnce);
  return {band * kRowTilesAtOnce + at % rows, at / rows};
}

using Cursor = pipeline::StageCursor<kStages, kStageBytes>;

__device__ inline void store_matrices(unsigned address, const unsigned (&from)[4]) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
               : "memory");
#endif
}

struct Work {
  const Maps& maps;
  const Shape& shape;
  unsigned rank;           ///< of this cta in its cluster
  int first, step, count;  ///< tiles of the cluster

  __device__ int row_of(const Tile& tile) const {
    return (tile.row * kClusterCtas + static_cast<int>(rank)) * kRows;
  }
};

__device__ __forceinline__ void load(const Work& work, Cursor cursor) {
  const Shape& shape = work.shape;
  for (int number = work.first; number < work.count; number += work.step) {
    const Tile tile = tile_of(shape, number);
    const int row = work.row_of(tile);
    const int column =
        tile.column * shape.column_step + static_cast<int>(work.rank) * shape.second_half;
    for (int step = 0; step < shape.steps; ++step, cursor.advance()) {
      cursor.wait_until_empty();
      pipeline::arrive_expecting(cursor.full(), kStageBytes);
      pipeline::copy_box(cursor.stage(), work.maps.x, step * kDepth, row, cursor.full());
      pipeline::copy_box_to_ctas(cursor.stage() + kRowsBytes + work.rank * kHalfBytes,
                                 work.maps.weights, step * kDepth, column, cursor.full(), 3);
    }
  }
}

/// sums = 64 rows of x · the weightsᵀ of a tile. Inlined whatever its size: products cannot be
/// under way across a call.
template <typename T>
__device__ __forceinline__ void multiply(float (&sums)[kColumns / 2], int steps, int group,
                                         Cursor& cursor) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  unsigned left = 0;  // barrier of the stage whose products are under way
  for (int step = 0; step < steps; ++step, cursor.advance()) {
    cursor.wait_until_full();
    const std::uint64_t x =
        wgmma::rows_of_128_bytes(cursor.stage() + group * kGroupRows * kRowBytes);
    const std::uint64_t weights = wgmma::rows_of_128_bytes(cursor.stage() + kRowsBytes);
    wgmma::fence();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      wgmma::multiply(sums, x + k * 2, weights + k * 2, step > 0 || k > 0, T{});
    }
    wgmma::commit();
    wgmma::wait_for_products<1>();
    if (lane < kClusterCtas && step > 0) pipeline::arrive_at_cta(left, lane);
    left = cursor.empty();
  }
  wgmma::wait_for_products<0>();
  if (lane < kClusterCtas) pipeline::arrive_at_cta(left, lane);
  wgmma::hold(sums);
}

/// 64 columns of y at (column, row).
template <typename T>
__device__ __forceinline__ void store(const float* sums, const CUtensorMap& y, int column, int row,
                                      int group, unsigned staging) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x % 128) / 32;
  const bool is_first = threadIdx.x % 128 == 0;
  if (is_first) pipeline::wait_for_reads_of_stores<kStores - 1>();
  pipeline::wait_at(kGroupBarrier + group, 128);
  const int to = warp * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // 16 columns
    const float* s = sums + i * 8;
    const unsigned matrices[] = {pack_two(s[0], s[1], T{}), pack_two(s[2], s[3], T{}),
                                 pack_two(s[4], s[5], T{}), pack_two(s[6], s[7], T{})};
    store_matrices(staging + swizzled<kChunks>(to, i * 2 + lane / 16), matrices);
  }
  wgmma::fence_shared_writes();
  pipeline::wait_at(kGroupBarrier + group, 128);
  if (is_first) pipeline::store_box(y, staging, column, row);
}

template <typename T, bool kHasSilu>
__device__ __forceinline__ void multiply_and_store(const Work& work, int group, Cursor cursor,
                                                   unsigned staging) {
  const Shape& shape = work.shape;
  for (int number = work.first; number < work.count; number += work.step) {
    const Tile tile = tile_of(shape, number);
    float sums[kColumns / 2];
    multiply<T>(sums, shape.steps, group, cursor);
    if constexpr (kHasSilu) {
#pragma unroll
      for (int i = 0; i < kColumns / 4; ++i) {
        const float gate = sums[i];
        sums[i] = __fdividef(gate, 1.0f + __expf(-gate)) * sums[i + kColumns / 4];
      }
    }
    const int row = work.row_of(tile) + group * kGroupRows;
#pragma unroll
    for (int i = 0; i < (kHasSilu ? 2 : 4); ++i) {
      store<T>(sums + i * 32, work.maps.y, tile.column * shape.column_step + i * 64, row, group,
               staging + (group * kStores + i % kStores) * kStoreBytes);
    }
  }
  if (threadIdx.x % 128 == 0) pipeline::wait_for_stores();
}

template <typename T, bool kHasSilu>
__global__ void __launch_bounds__(kThreads, 1)
    large_kernel(const __grid_constant__ Maps maps, const __grid_constant__ Shape shape) {
  extern __shared__ unsigned char memory[];
  __shared__ Shared shared;
  if (threadIdx.x == 0) {
    pipeline::prefetch(maps.x);
    pipeline::prefetch(maps.weights);
    pipeline::prefetch(maps.y);
    for (int stage = 0; stage < kStages; ++stage) {
      pipeline::start_barrier(shared_address(&shared.full[stage]), 1);
      pipeline::start_barrier(shared_address(&shared.empty[stage]), kMultiplyWarps * kClusterCtas);
    }
    pipeline::show_barriers_to_copies();
  }
  pipeline::wait_for_cluster();
  const unsigned base = (shared_address(memory) + 1023) / 1024 * 1024;
  const Cursor cursor(base, shared_address(shared.full), shared_address(shared.empty));
  const Work work{maps,
                  shape,
                  pipeline::cta_of_cluster(),
                  static_cast<int>(blockIdx.x / kClusterCtas),
                  static_cast<int>(gridDim.x / kClusterCtas),
                  shape.row_tiles * shape.column_tiles};

  const int group = static_cast<int>(threadIdx.x / 128);
  if (group == 0) {
    pipeline::give_registers_down_to<kLoadRegisters>();
    if (threadIdx.x == 0) load(work, cursor);
  } else {
    pipeline::take_registers_up_to<kMultiplyRegisters>();
    multiply_and_store<T, kHasSilu>(work, group - 1, cursor, base + kStages * kStageBytes);
  }
  // The other cta copies into this one's memory and arrives at its barriers.
  __syncwarp();
  pipeline::wait_for_cluster();
}

template <typename T, bool kHasSilu>
void launch(const Gemm::Operands& o, Stream stream) {
  const std::int64_t columns_of_y = kHasSilu ? o.n / 2 : o.n;
  const int column_step = kHasSilu ? kHalf : kColumns;
  const auto map_of = [&](const void* data, std::int64_t rows, std::int64_t columns,
                          std::int64_t stride, std::uint32_t box_rows) {
    return boxes_of(
        {.data = data,
         .dtype = o.dtype,
         .extent = {static_cast<std::uint64_t>(columns), static_cast<std::uint64_t>(rows)},
         .stride = {static_cast<std::uint64_t>(stride)},
         .box = {kDepth, box_rows}});
  };
  const Maps maps{map_of(o.x, o.m, o.k, o.x_stride, kRows), map_of(o.weight, o.n, o.k, o.k, kHalf),
                  map_of(o.y, o.m, columns_of_y, o.y_stride, kGroupRows)};
  const Shape shape{static_cast<int>(ceil_div(o.m, kRows * kClusterCtas)),
                    static_cast<int>(ceil_div(columns_of_y, column_step)),
                    static_cast<int>(ceil_div(o.k, kDepth)), column_step,
                    kHasSilu ? static_cast<int>(o.n / 2) : kHalf};
  const auto kernel = large_kernel<T, kHasSilu>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  const int num_clusters =
      std::min(num_multiprocessors() / kClusterCtas, shape.row_tiles * shape.column_tiles);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kClusterCtas, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(num_clusters * kClusterCtas));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, maps, shape);
}

template <typename T>
void launch_for_silu(const Gemm::Operands& o, Stream stream) {
  if (o.gate_up != nullptr) return launch<T, true>(o, stream);
  launch<T, false>(o, stream);
}

}  // namespace

bool takes_large_product(const Gemm::Operands& o) {
  // Other GPUs, and builds without sm_90a, have the kernel from PTX in which it is empty.
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    const auto kernel = large_kernel<__nv_bfloat16, false>;
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion == 90;
  }();
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  return has_it && o.dtype != DType::float32 && o.y_dtype == o.dtype && o.bias == nullptr &&
         o.m >= 1 && o.m < kMost && o.n >= 8 && o.n < kMost && o.k >= 8 && o.k < kMost &&
         (o.gate_up == nullptr || o.n % 2 == 0) &&
         vector_width<__half>({o.x, o.weight, o.y}, {o.x_stride, o.k, o.y_stride}) == 8;
}

void large_product(const Gemm::Operands& o, Stream stream) {
  TRIREME_CHECK(takes_large_product(o), "m=", o.m, " n=", o.n, " k=", o.k,
                " dtype=", name_of(o.dtype));
  if (o.dtype == DType::bfloat16) {
    launch_for_silu<__nv_bfloat16>(o, stream);
  } else {
    launch_for_silu<__half>(o, stream);
  }
  check_launch("large_product");
}

}  // namespace trireme::kernels::cuda
