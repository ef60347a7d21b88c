#include <algorithm>

#include "kernels/cuda/detail/boxed_array.h"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/mma.cuh"
#include "kernels/cuda/detail/pipeline.cuh"
#include "kernels/cuda/detail/silu.cuh"
#include "kernels/cuda/detail/token_tile.cuh"
#include "kernels/cuda/detail/wgmma_shapes.cuh"

/// A cta goes through tiles of 256 weight rows x up to 192 places. One warpgroup loads stages of 64
/// elements of k, a warp the weights and three the rows of x; two warpgroups multiply, weights
/// times xᵀ, so that the places of a tile are the instruction's columns: any sixteen of them. Of a
/// stage's weights a warpgroup has 64 of the first 128 rows and 64 of the others, with silu_and_mul
/// gates and their ups.
namespace trireme::kernels::cuda {
namespace {

constexpr int kWeightRows = 256, kHalfRows = kWeightRows / 2, kTokens = 192;
constexpr int kDepth = 64, kRowBytes = kDepth * 2, kChunks = kRowBytes / 16;
constexpr int kStages = 3;
constexpr int kWeightBytes = kWeightRows * kRowBytes;
constexpr int kStageBytes = kWeightBytes + kTokens * kRowBytes;
constexpr int kStagingBytes = kTokens * kRowBytes;  ///< of a warpgroup's 64 columns of y
constexpr int kSharedBytes = kStages * kStageBytes + 2 * kStagingBytes + 1024;  // to align it

constexpr int kThreads = 384, kLoadThreads = 96, kMultiplyWarps = 8;
constexpr int kRowsAtOnce = kLoadThreads / kChunks, kRowCopies = kTokens / kRowsAtOnce;
constexpr int kLoadRegisters = 56, kMultiplyRegisters = 224;  // of 168 a thread at the launch

/// Numbers of the barriers that threads wait at.
constexpr int kGroupBarrier = 1, kStaggerBarrier = 3;

/// A cta's shared memory.
struct Shared {
  TokenTileTable table;
  std::uint64_t full[kStages], empty[kStages];
};

using Cursor = pipeline::StageCursor<kStages, kStageBytes>;

/// What all warps know.
struct Work {
  const GroupedProduct& p;
  const Shared& shared;
  unsigned base;  ///< of the first stage
  int num_parts;  ///< 2: gates and ups
  int columns_of_y, column_step, num_columns, num_tiles, num_steps;

  __device__ Work(const GroupedProduct& product, const Shared& memory, unsigned first_stage)
      : p(product),
        shared(memory),
        base(first_stage),
        num_parts(product.has_silu_and_mul ? 2 : 1),
        columns_of_y(static_cast<int>(product.n) / num_parts),
        column_step(kWeightRows / num_parts),
        num_columns((columns_of_y + column_step - 1) / column_step),
        num_tiles(memory.table.first[product.num_slots] * num_columns),
        num_steps(static_cast<int>((product.k + kDepth - 1) / kDepth)) {}

  __device__ Cursor cursor() const {
    return {base, shared_address(shared.full), shared_address(shared.empty)};
  }
  __device__ TokenTile tile(int number) const {
    return token_tile(shared.table, static_cast<int>(p.num_slots), num_columns, number);
  }
};

/// Arrives as soon as this thread's copy_async() until now are done.
__device__ void arrive_behind_copies(unsigned barrier) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
#endif
}

/// Stores four 8 x 8 matrices with rows and columns exchanged: lane l gives the address of what is
/// then row l mod 8 of matrix l / 8.
__device__ void store_matrices_transposed(unsigned address, const unsigned (&from)[4]) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
      "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
      : "memory");
#endif
}
__device__ uint4 load_shared(unsigned address) {
  uint4 values;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(values.x), "=r"(values.y), "=r"(values.z), "=r"(values.w)
               : "r"(address)
               : "memory");
  return values;
}

/// The first num_there of eight elements, an even number.
template <typename T>
__device__ void store_pairs(T* to, const uint4& values, int num_there) {
  const unsigned pairs[] = {values.x, values.y, values.z, values.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i * 2 < num_there) reinterpret_cast<unsigned*>(to)[i] = pairs[i];
  }
}

/// The warp that loads weights.
__device__ __forceinline__ void load_weights(const Work& work, const CUtensorMap& weights) {
  Cursor cursor = work.cursor();
  const bool loads = threadIdx.x % 32 == 0;
  for (int number = blockIdx.x; number < work.num_tiles; number += gridDim.x) {
    const TokenTile tile = work.tile(number);
    for (int step = 0; step < work.num_steps; ++step, cursor.advance()) {
      cursor.wait_until_empty();
      if (!loads) continue;
      pipeline::arrive_expecting(cursor.full(), kWeightBytes);
      pipeline::copy_box(cursor.stage(), weights, step * kDepth, tile.column * work.column_step,
                         tile.slot * work.num_parts, cursor.full());
    }
  }
}

/// The warps that load rows of x: a thread copies the same chunk of every kRowsAtOnce-th row.
__device__ __forceinline__ void load_rows(const Work& work) {
  const GroupedProduct& p = work.p;
  const int first = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
  const auto stride = static_cast<unsigned>(p.x_stride / 8);
  Cursor cursor = work.cursor();
  for (int number = blockIdx.x; number < work.num_tiles; number += gridDim.x) {
    const TokenTile tile = work.tile(number);
    const int num_rows = (tile.end - tile.begin + 15) / 16 * 16;
    unsigned from[kRowCopies];  // in chunks
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      // Rows that fill the last sixteen up are copies of the last one.
      const int place = min(tile.begin + first + i * kRowsAtOnce, tile.end - 1);
      from[i] = static_cast<unsigned>(row_of_place(p, place)) * stride;
    }
    for (int step = 0; step < work.num_steps; ++step, cursor.advance()) {
      const int at = step * kDepth + chunk * 8;
      const bool is_inside = at < p.k;
      const uint4* x = static_cast<const uint4*>(p.x) + (is_inside ? at / 8 : 0);
      cursor.wait_until_empty();
      const unsigned to = cursor.stage() + kWeightBytes;
#pragma unroll
      for (int i = 0; i < kRowCopies; ++i) {
        const int row = first + i * kRowsAtOnce;
        if (row < num_rows) copy_async(to + swizzled<kChunks>(row, chunk), x + from[i], is_inside);
      }
      arrive_behind_copies(cursor.full());
    }
  }
}

/// A warpgroup that multiplies, and where it is.
struct Multiplier {
  int group;
  Cursor cursor;
  int starts_other_at;  ///< step of this tile at which the other warpgroup may begin, or -1
};

// Inlined whatever their size: products cannot be under way across a call.

/// sums = weights of this warpgroup · xᵀ, for the first 128 weight rows and the others.
template <typename T, int kSums>
__device__ __forceinline__ void multiply_tile(float (&sums)[2][kSums], int num_steps,
                                              Multiplier& at) {
  Cursor& cursor = at.cursor;
  const bool releases = threadIdx.x % 32 == 0;
  unsigned left = 0;  // barrier of the stage whose products are under way
  for (int step = 0; step < num_steps; ++step, cursor.advance()) {
    cursor.wait_until_full();
    if (step == at.starts_other_at) pipeline::pass(kStaggerBarrier, 256);
    wgmma::fence_shared_writes();  // those of copy_async
    const std::uint64_t first =
        wgmma::rows_of_128_bytes(cursor.stage() + at.group * 64 * kRowBytes);
    const std::uint64_t second = first + kHalfRows * kRowBytes / 16;
    const std::uint64_t x = wgmma::rows_of_128_bytes(cursor.stage() + kWeightBytes);
    wgmma::fence();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      wgmma::multiply(sums[0], first + k * 2, x + k * 2, true, T{});
      wgmma::multiply(sums[1], second + k * 2, x + k * 2, true, T{});
    }
    wgmma::commit();
    wgmma::wait_for_products<1>();
    if (releases && step > 0) pipeline::arrive(left);
    left = cursor.empty();
  }
  wgmma::wait_for_products<0>();
  if (releases) pipeline::arrive(left);
  wgmma::hold(sums[0]);
  wgmma::hold(sums[1]);
}

/// Stores 64 columns of y from `column` on. The sums lie across: a lane has neighbouring places of
/// the same column, so they go through shared memory.
template <typename T, int kSums>
__device__ __forceinline__ void store_columns(const Work& work, const TokenTile& tile,
                                              const float (&sums)[kSums], int column, int group,
                                              unsigned staging) {
  const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  pipeline::wait_at(kGroupBarrier + group, 128);  // everybody has read what was there before
#pragma unroll
  for (int i = 0; i < kSums; i += 8) {  // 16 places
    const unsigned matrices[] = {
        pack_two(sums[i], sums[i + 1], T{}), pack_two(sums[i + 2], sums[i + 3], T{}),
        pack_two(sums[i + 4], sums[i + 5], T{}), pack_two(sums[i + 6], sums[i + 7], T{})};
    const int row = i * 2 + lane / 16 * 8 + lane % 8, chunk = warp * 2 + lane / 8 % 2;
    store_matrices_transposed(staging + swizzled<kChunks>(row, chunk), matrices);
  }
  pipeline::wait_at(kGroupBarrier + group, 128);

  const int first = thread / kChunks, chunk = thread % kChunks, at = column + chunk * 8;
  const int num_there = min(work.columns_of_y - at, 8);
  const int num_rows = num_there > 0 ? tile.end - tile.begin : 0;
  uint4 values[kSums / 8];
#pragma unroll
  for (int i = 0; i < kSums / 8; ++i) {
    values[i] = load_shared(staging + swizzled<kChunks>(first + i * 16, chunk));
  }
  T* to = static_cast<T*>(work.p.y) +
          static_cast<std::int64_t>(tile.begin + first) * work.columns_of_y + at;
  const std::int64_t sixteen_rows = std::int64_t{16} * work.columns_of_y;
#pragma unroll
  for (int i = 0; i < kSums / 8; ++i, to += sixteen_rows) {
    if (first + i * 16 < num_rows) {
      if (work.columns_of_y % 8 == 0) {
        *reinterpret_cast<uint4*>(to) = values[i];
      } else {
        store_pairs(to, values[i], num_there);
      }
    }
  }
}

/// A tile of at most kColumns places, a multiple of 16, by the narrowest instructions that do.
template <typename T, int kColumns>
__device__ __forceinline__ void compute_tile(const Work& work, const TokenTile& tile,
                                             Multiplier& at) {
  if constexpr (kColumns > 16) {
    if (tile.end - tile.begin <= kColumns - 16) {
      return compute_tile<T, kColumns - 16>(work, tile, at);
    }
  }
  float sums[2][kColumns / 2] = {};
  multiply_tile<T>(sums, work.num_steps, at);
  const unsigned staging = work.base + kStages * kStageBytes + at.group * kStagingBytes;
  const int column = tile.column * work.column_step + at.group * 64;
  if (work.p.has_silu_and_mul) {
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) {
      sums[0][i] = fast_silu_times(sums[0][i], sums[1][i]);
    }
    store_columns<T>(work, tile, sums[0], column, at.group, staging);
  } else {
    store_columns<T>(work, tile, sums[0], column, at.group, staging);
    store_columns<T>(work, tile, sums[1], column + kHalfRows, at.group, staging);
  }
}

/// The second warpgroup begins as late as the stages allow, and stays behind: one multiplies while
/// the other stores.
template <typename T>
__device__ __forceinline__ void multiply_and_store(const Work& work, int group) {
  Multiplier at{group, work.cursor(), group == 0 ? min(kStages, work.num_steps) - 1 : -1};
  if (group == 1 && static_cast<int>(blockIdx.x) < work.num_tiles) {
    pipeline::wait_at(kStaggerBarrier, 256);
  }
  for (int number = blockIdx.x; number < work.num_tiles; number += gridDim.x) {
    compute_tile<T, kTokens>(work, work.tile(number), at);
    at.starts_other_at = -1;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 1)
    pipelined_kernel(const __grid_constant__ CUtensorMap weights,
                     const __grid_constant__ GroupedProduct p) {
  extern __shared__ unsigned char memory[];
  __shared__ Shared shared;
  if (threadIdx.x == 0) {
    pipeline::prefetch(weights);
    for (int stage = 0; stage < kStages; ++stage) {
      pipeline::start_barrier(shared_address(&shared.full[stage]), kLoadThreads + 1);
      pipeline::start_barrier(shared_address(&shared.empty[stage]), kMultiplyWarps);
    }
    pipeline::show_barriers_to_copies();
  }
  fill_token_tiles<kTokens>(p, shared.table);
  const Work work(p, shared, (shared_address(memory) + 1023) / 1024 * 1024);

  const int group = static_cast<int>(threadIdx.x / 128);
  if (group == 0) {
    pipeline::give_registers_down_to<kLoadRegisters>();
    if (threadIdx.x < kLoadThreads) {
      load_rows(work);
    } else {
      load_weights(work, weights);
    }
  } else {
    pipeline::take_registers_up_to<kMultiplyRegisters>();
    multiply_and_store<T>(work, group - 1);
  }
}

template <typename T>
void launch(const GroupedProduct& p, Stream stream) {
  const std::int64_t parts = p.has_silu_and_mul ? 2 : 1, rows = p.n / parts;
  const auto size = [](std::int64_t count) { return static_cast<std::uint64_t>(count); };
  const CUtensorMap weights =
      boxes_of({.data = p.weight,
                .dtype = p.dtype,
                .ndim = 3,
                .extent = {size(p.k), size(rows), size(p.num_slots * parts)},
                .stride = {size(p.k), size(rows * p.k)},
                .box = {kDepth, kWeightRows / static_cast<std::uint32_t>(parts),
                        static_cast<std::uint32_t>(parts)}});
  const auto kernel = pipelined_kernel<T>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  const std::int64_t most_tiles =
      (p.num_places / kTokens + std::min(p.num_slots, p.num_places)) * ceil_div(p.n, kWeightRows);
  const std::int64_t num_ctas = std::min<std::int64_t>(num_multiprocessors(), most_tiles);
  kernel<<<static_cast<unsigned>(num_ctas), kThreads, kSharedBytes, stream>>>(weights, p);
}

}  // namespace

bool takes_grouped_product_pipelined(const GroupedProduct& p) {
  // Other GPUs, and builds without sm_90a, have the kernel from PTX in which it is empty.
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    const auto kernel = pipelined_kernel<__nv_bfloat16>;
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion == 90;
  }();
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  return has_it && p.k >= 8 && p.k < kMost && p.n < kMost;
}

void grouped_product_pipelined(const GroupedProduct& product, Stream stream) {
  if (product.dtype == DType::bfloat16) return launch<__nv_bfloat16>(product, stream);
  launch<__half>(product, stream);
}

}  // namespace trireme::kernels::cuda
