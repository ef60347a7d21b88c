#include "kernels/cuda/detail/large_product.h"

#include <algorithm>

#include "kernels/cuda/detail/boxed_array.h"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/mma.cuh"
#include "kernels/cuda/detail/pipeline.cuh"
#include "kernels/cuda/detail/silu.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/cuda/detail/wgmma_shapes.cuh"

/// A cta goes through tiles of rows x columns of y; with silu_and_mul half of a tile's weight rows
/// are gates and half their ups, so that a thread has both of a column. One thread loads stages of
/// 64 elements of k; warpgroups multiply 64 rows each. K is summed up in order, sixteen at a time,
/// whatever the tiling is: all give the same bits.
namespace trireme::kernels::cuda {
namespace {

constexpr int kDepth = 64, kRowBytes = kDepth * 2, kChunks = kRowBytes / 16;
constexpr int kGroupRows = 64;

template <int kRows_, int kColumns_, int kStages_, int kCtas_>
struct Tiling {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kHalf = kColumns / 2;
  static constexpr int kStages = kStages_, kCtas = kCtas_;  ///< ctas of a cluster
  static constexpr int kGroups = kRows / kGroupRows, kThreads = 128 * (kGroups + 1);
  static constexpr int kRowsBytes = kRows * kRowBytes, kHalfBytes = kHalf * kRowBytes;
  static constexpr int kStageBytes = kRowsBytes + 2 * kHalfBytes;
  /// Columns go out through shared memory, 64 at a time and kStores times at once; few directly.
  static constexpr bool kIsStaged = kHalf >= 64;
  static constexpr int kStores = 2, kStoreBytes = kGroupRows * kRowBytes;
  static constexpr int kSharedBytes =
      kStages * kStageBytes + (kIsStaged ? kGroups * kStores * kStoreBytes : 0) + 1024;

  using Cursor = pipeline::StageCursor<kStages, kStageBytes>;
  struct Barriers {
    std::uint64_t full[kStages], empty[kStages];
  };
};

/// The two ctas of a cluster have the same columns of neighbouring rows: each brings half of the
/// weights for both.
using Wide = Tiling<128, 256, 4, 2>;
/// Where wide tiles would leave multiprocessors idle.
using Even = Tiling<128, 128, 6, 2>;
/// For few rows: more ctas, and more weights under way.
using Narrow = Tiling<64, 32, 16, 1>;

constexpr int kRowTilesAtOnce = 8;  ///< of clusters, whose rows of x stay in the L2 cache
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
  int rows, columns;                   ///< of y
  std::int64_t y_stride;
  void* y;
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

__device__ inline void store_matrices(unsigned address, const unsigned (&from)[4]) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
               : "memory");
#endif
}

template <typename Tiling>
struct Work {
  const Maps& maps;
  const Shape& shape;
  int rank;                ///< of this cta in its cluster
  int first, step, count;  ///< tiles of the cluster

  __device__ int row_of(const Tile& tile) const {
    return (tile.row * Tiling::kCtas + rank) * Tiling::kRows;
  }
};

template <typename Tiling>
__device__ __forceinline__ void load(const Work<Tiling>& work, typename Tiling::Cursor cursor) {
  const Shape& shape = work.shape;
  for (int number = work.first; number < work.count; number += work.step) {
    const Tile tile = tile_of(shape, number);
    const int row = work.row_of(tile), column = tile.column * shape.column_step;
    for (int step = 0; step < shape.steps; ++step, cursor.advance()) {
      cursor.wait_until_empty();
      pipeline::arrive_expecting(cursor.full(), Tiling::kStageBytes);
      pipeline::copy_box(cursor.stage(), work.maps.x, step * kDepth, row, cursor.full());
      const unsigned weights = cursor.stage() + Tiling::kRowsBytes;
      if constexpr (Tiling::kCtas == 2) {
        pipeline::copy_box_to_ctas(weights + work.rank * Tiling::kHalfBytes, work.maps.weights,
                                   step * kDepth, column + work.rank * shape.second_half,
                                   cursor.full(), 3);
      } else {
        for (int half = 0; half < 2; ++half) {
          pipeline::copy_box(weights + half * Tiling::kHalfBytes, work.maps.weights, step * kDepth,
                             column + half * shape.second_half, cursor.full());
        }
      }
    }
  }
}

/// By the warps that multiply, for every cta that copies into the stage.
template <typename Tiling>
__device__ inline void release(unsigned empty) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  if constexpr (Tiling::kCtas == 1) {
    if (lane == 0) pipeline::arrive(empty);
  } else {
    if (lane < Tiling::kCtas) pipeline::arrive_at_cta(empty, lane);
  }
}

/// sums = 64 rows of x · the weightsᵀ of a tile. Inlined whatever its size: products cannot be
/// under way across a call.
template <typename T, typename Tiling>
__device__ __forceinline__ void multiply(float (&sums)[Tiling::kColumns / 2], int steps, int group,
                                         typename Tiling::Cursor& cursor) {
  unsigned left = 0;  // barrier of the stage whose products are under way
  for (int step = 0; step < steps; ++step, cursor.advance()) {
    cursor.wait_until_full();
    const std::uint64_t x =
        wgmma::rows_of_128_bytes(cursor.stage() + group * kGroupRows * kRowBytes);
    const std::uint64_t weights = wgmma::rows_of_128_bytes(cursor.stage() + Tiling::kRowsBytes);
    wgmma::fence();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      wgmma::multiply(sums, x + k * 2, weights + k * 2, step > 0 || k > 0, T{});
    }
    wgmma::commit();
    wgmma::wait_for_products<1>();
    if (step > 0) release<Tiling>(left);
    left = cursor.empty();
  }
  wgmma::wait_for_products<0>();
  release<Tiling>(left);
  wgmma::hold(sums);
}

/// 64 columns of y at (column, row), through shared memory that all but the kLeft last stores have
/// left.
template <typename T, int kLeft>
__device__ __forceinline__ void store_staged(const float* sums, const CUtensorMap& y, int column,
                                             int row, int group, unsigned staging) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x % 128) / 32;
  const bool is_first = threadIdx.x % 128 == 0;
  if (is_first) pipeline::wait_for_reads_of_stores<kLeft>();
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

/// kCount sums a thread, 2 · kCount columns of y at (column, row).
template <typename T, int kCount>
__device__ __forceinline__ void store_directly(const float* sums, const Shape& shape, int column,
                                               int row) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int first_row = row + static_cast<int>(threadIdx.x % 128) / 32 * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int at_row = first_row + i / 2 % 2 * 8, at = column + i / 4 * 8 + lane % 4 * 2 + i % 2;
    if (at_row >= shape.rows || at >= shape.columns) continue;
    static_cast<T*>(shape.y)[at_row * shape.y_stride + at] = from_float<T>(sums[i]);
  }
}

template <typename T, typename Tiling, bool kHasSilu>
__device__ __forceinline__ void multiply_and_store(const Work<Tiling>& work, int group,
                                                   typename Tiling::Cursor cursor,
                                                   unsigned staging) {
  constexpr int kSums = Tiling::kColumns / 2, kStored = kHasSilu ? kSums / 2 : kSums;
  const Shape& shape = work.shape;
  for (int number = work.first; number < work.count; number += work.step) {
    const Tile tile = tile_of(shape, number);
    float sums[kSums];
    multiply<T, Tiling>(sums, shape.steps, group, cursor);
    if constexpr (kHasSilu) {
#pragma unroll
      for (int i = 0; i < kStored; ++i) {
        sums[i] = fast_silu_times(sums[i], sums[i + kStored]);
      }
    }
    const int row = work.row_of(tile) + group * kGroupRows;
    const int column = tile.column * shape.column_step;
    if constexpr (Tiling::kIsStaged) {
      // Places take turns inside a tile: with one store a tile it is always the first one.
      constexpr int kLeft = kStored / 32 % Tiling::kStores == 0 ? Tiling::kStores - 1 : 0;
#pragma unroll
      for (int i = 0; i < kStored / 32; ++i) {
        const int buffer = group * Tiling::kStores + i % Tiling::kStores;
        store_staged<T, kLeft>(sums + i * 32, work.maps.y, column + i * 64, row, group,
                               staging + buffer * Tiling::kStoreBytes);
      }
    } else {
      store_directly<T, kStored>(sums, shape, column, row);
    }
  }
  if (Tiling::kIsStaged && threadIdx.x % 128 == 0) pipeline::wait_for_stores();
}

template <typename T, typename Tiling, bool kHasSilu>
__global__ void __launch_bounds__(Tiling::kThreads, 1)
    large_kernel(const __grid_constant__ Maps maps, const __grid_constant__ Shape shape) {
  extern __shared__ unsigned char memory[];
  __shared__ typename Tiling::Barriers barriers;
  if (threadIdx.x == 0) {
    pipeline::prefetch(maps.x);
    pipeline::prefetch(maps.weights);
    if (Tiling::kIsStaged) pipeline::prefetch(maps.y);
    for (int stage = 0; stage < Tiling::kStages; ++stage) {
      pipeline::start_barrier(shared_address(&barriers.full[stage]), 1);
      pipeline::start_barrier(shared_address(&barriers.empty[stage]),
                              Tiling::kGroups * 4 * Tiling::kCtas);
    }
    pipeline::show_barriers_to_copies();
  }
  pipeline::wait_for_cluster();
  const unsigned base = (shared_address(memory) + 1023) / 1024 * 1024;
  const typename Tiling::Cursor cursor(base, shared_address(barriers.full),
                                       shared_address(barriers.empty));
  const Work<Tiling> work{maps,
                          shape,
                          static_cast<int>(pipeline::cta_of_cluster()),
                          static_cast<int>(blockIdx.x / Tiling::kCtas),
                          static_cast<int>(gridDim.x / Tiling::kCtas),
                          shape.row_tiles * shape.column_tiles};

  const int group = static_cast<int>(threadIdx.x / 128);
  if (group == 0) {
    if (Tiling::kGroups > 1) pipeline::give_registers_down_to<kLoadRegisters>();
    if (threadIdx.x == 0) load(work, cursor);
  } else {
    if (Tiling::kGroups > 1) pipeline::take_registers_up_to<kMultiplyRegisters>();
    multiply_and_store<T, Tiling, kHasSilu>(work, group - 1, cursor,
                                            base + Tiling::kStages * Tiling::kStageBytes);
  }
  // The other cta copies into this one's memory and arrives at its barriers.
  __syncwarp();
  pipeline::wait_for_cluster();
}

/// Rows of [rows, columns] in boxes of 64 elements.
CUtensorMap map_of(const Gemm::Operands& o, const void* data, std::int64_t rows,
                   std::int64_t columns, std::int64_t stride, int box_rows) {
  return boxes_of(
      {.data = data,
       .dtype = o.dtype,
       .extent = {static_cast<std::uint64_t>(columns), static_cast<std::uint64_t>(rows)},
       .stride = {static_cast<std::uint64_t>(stride)},
       .box = {kDepth, static_cast<std::uint32_t>(box_rows)}});
}

template <typename T, typename Tiling, bool kHasSilu>
void launch(const Gemm::Operands& o, Stream stream) {
  const std::int64_t columns = kHasSilu ? o.n / 2 : o.n;
  const int column_step = kHasSilu ? Tiling::kHalf : Tiling::kColumns;
  Maps maps{};
  maps.x = map_of(o, o.x, o.m, o.k, o.x_stride, Tiling::kRows);
  maps.weights = map_of(o, o.weight, o.n, o.k, o.k, Tiling::kHalf);
  if (Tiling::kIsStaged) maps.y = map_of(o, o.y, o.m, columns, o.y_stride, kGroupRows);
  const Shape shape{.row_tiles = static_cast<int>(ceil_div(o.m, Tiling::kRows * Tiling::kCtas)),
                    .column_tiles = static_cast<int>(ceil_div(columns, column_step)),
                    .steps = static_cast<int>(ceil_div(o.k, kDepth)),
                    .column_step = column_step,
                    .second_half = kHasSilu ? static_cast<int>(columns) : Tiling::kHalf,
                    .rows = static_cast<int>(o.m),
                    .columns = static_cast<int>(columns),
                    .y_stride = o.y_stride,
                    .y = o.y};
  const auto kernel = large_kernel<T, Tiling, kHasSilu>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tiling::kSharedBytes);
  const int num_clusters =
      std::min(num_multiprocessors() / Tiling::kCtas, shape.row_tiles * shape.column_tiles);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {Tiling::kCtas, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(num_clusters * Tiling::kCtas));
  config.blockDim = dim3(Tiling::kThreads);
  config.dynamicSmemBytes = Tiling::kSharedBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, maps, shape);
}

template <typename T, typename Tiling>
void launch_for_silu(const Gemm::Operands& o, Stream stream) {
  if (o.gate_up != nullptr) return launch<T, Tiling, true>(o, stream);
  launch<T, Tiling, false>(o, stream);
}

/// Columns of tiles that the busiest cluster computes.
template <typename Tiling>
std::int64_t columns_in_turn(const Gemm::Operands& o) {
  const std::int64_t tiles =
      ceil_div(o.m, Tiling::kRows * Tiling::kCtas) * ceil_div(o.n, Tiling::kColumns);
  return ceil_div(tiles, num_multiprocessors() / Tiling::kCtas) * Tiling::kColumns;
}

template <typename T>
void launch_for_rows(const Gemm::Operands& o, Stream stream) {
  if (o.m <= Narrow::kRows) return launch_for_silu<T, Narrow>(o, stream);
  // Narrower tiles read x more often.
  constexpr double kCostOfEven = 1.04;
  if (static_cast<double>(columns_in_turn<Even>(o)) * kCostOfEven <
      static_cast<double>(columns_in_turn<Wide>(o))) {
    return launch_for_silu<T, Even>(o, stream);
  }
  launch_for_silu<T, Wide>(o, stream);
}

}  // namespace

bool takes_large_product(const Gemm::Operands& o) {
  // Other GPUs, and builds without sm_90a, have the kernel from PTX in which it is empty.
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    const auto kernel = large_kernel<__nv_bfloat16, Wide, false>;
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
    launch_for_rows<__nv_bfloat16>(o, stream);
  } else {
    launch_for_rows<__half>(o, stream);
  }
  check_launch("large_product");
}

}  // namespace trireme::kernels::cuda
