#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/attention_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = kRowsOfDecodeTile;
constexpr int kKeys = 16;  ///< of a warp's tile
constexpr float kLog2OfE = 1.4426950408889634f;

/// A cta has up to 16 query heads of one sequence and KV head and one part of its keys. Each warp
/// goes through every kWarps-th tile of keys on its own, with the next tiles on their way, so that
/// no barrier is needed before the warps' results are merged.
template <int kDim_, int kStages_>
struct Tiling {
  static constexpr int kDim = kDim_, kStages = kStages_, kChunks = kDim / 8;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kWarpBytes = kStages * 2 * kTileBytes;
  static constexpr int kMergeFloats = kRows * (kDim + 2);
  static constexpr int kSharedBytes = kWarps * kWarpBytes;
  static_assert(kWarpBytes >= kMergeFloats * 4);
};

/// Rows of results that are to be merged: out [kRows, kDim], then largest and sum of each row.
template <int kDim>
struct Partial {
  float* memory;
  __device__ float& out(int row, int i) const { return memory[row * kDim + i]; }
  __device__ float& largest(int row) const { return memory[kRows * kDim + row]; }
  __device__ float& sum(int row) const { return memory[kRows * (kDim + 1) + row]; }
};

struct Part {
  std::int64_t seq, kv_head, first_head, counter;
  std::int64_t token;
  int num_rows;
  int first, end;            ///< keys that the query sees; the last one is its own
  int tile_begin, tile_end;  ///< of this cta
  int num_parts, part;
};

// What is read before the wait is settled, past the L1 cache: the batch's arrays and the keys
// before a sequence's own, which earlier steps have written. Products are between those and this.

__device__ Part part_of_cta(const Attention& a) {
  Part p;
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  const int row_groups = (heads_per_kv + kRows - 1) / kRows;
  p.seq = blockIdx.z;
  p.kv_head = blockIdx.x / row_groups;
  const int first_row = blockIdx.x % row_groups * kRows;
  p.first_head = p.kv_head * heads_per_kv + first_row;
  p.num_rows = min(kRows, heads_per_kv - first_row);
  p.counter = p.seq * gridDim.x + blockIdx.x;
  p.token = __ldcg(a.batch.q_begin + p.seq);
  const int position = __ldcg(a.batch.first_position + p.seq);
  const bool is_empty = __ldcg(a.batch.q_begin + p.seq + 1) == p.token;
  p.first = first_key(a, position);
  p.end = position + 1;
  const int tiles_begin = p.first / kKeys, tiles_end = (p.end + kKeys - 1) / kKeys;
  const int num_tiles = tiles_end - tiles_begin;
  // At least a tile for each warp; the parts behind the last one have nothing to do.
  const int per_part =
      max(kWarps, (num_tiles + static_cast<int>(gridDim.y) - 1) / static_cast<int>(gridDim.y));
  p.num_parts = (num_tiles + per_part - 1) / per_part;
  p.part = is_empty ? p.num_parts : static_cast<int>(blockIdx.y);
  p.tile_begin = tiles_begin + p.part * per_part;
  p.tile_end = min(tiles_end, p.tile_begin + per_part);
  return p;
}

__device__ PagedRows paged_rows_of(const Attention& a, const Part& p) {
  Attention by_row = a;
  by_row.batch.table_row = nullptr;
  const std::int32_t* table_row = a.batch.table_row;
  return paged_rows(by_row, table_row == nullptr ? p.seq : __ldcg(table_row + p.seq), p.kv_head);
}

/// As PagedRows::offset().
__device__ std::int64_t offset_of_key(const PagedRows& paged, int key) {
  const int block = __ldcg(paged.blocks + (key >> paged.shift));
  if (block < 0) return -1;
  return block * paged.block_stride + paged.head_offset +
         static_cast<std::int64_t>(key & ((1 << paged.shift) - 1)) * paged.head_dim;
}

template <typename T, int kDim>
__device__ void load_queries(const Attention& a, const Part& p, unsigned (&q)[kDim / 16][4]) {
  const int lane = threadIdx.x % 32, row = lane / 4;
  const T* from = static_cast<const T*>(a.q) + p.token * a.q_stride + p.first_head * kDim;
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = row + i % 2 * 8;
      const T* at = from + r * kDim + step * 16 + i / 2 * 8 + lane % 4 * 2;
      q[step][i] = r < p.num_rows ? *reinterpret_cast<const unsigned*>(at) : 0u;
    }
  }
}

template <typename T, typename Tile>
__device__ void start_tile(const Attention& a, const PagedRows& paged, const Part& p, int tile,
                           unsigned keys) {
  const int lane = threadIdx.x % 32;
  const int own_key = tile * kKeys + lane % kKeys;
  const bool is_seen = own_key >= p.first && own_key < p.end;
  const std::int64_t own_offset = is_seen ? offset_of_key(paged, own_key) : -1;
#pragma unroll
  for (int i = 0; i < Tile::kChunks * kKeys / 32; ++i) {
    const int at = i * 32 + lane, row = at / Tile::kChunks, chunk = at % Tile::kChunks;
    const std::int64_t offset = __shfl_sync(0xffffffffu, own_offset, row);
    const std::int64_t from = offset < 0 ? 0 : offset + chunk * 8;
    const unsigned to = keys + swizzled<Tile::kChunks>(row, chunk);
    copy_async(to, static_cast<const T*>(a.cache.k) + from, offset >= 0);
    copy_async(to + Tile::kTileBytes, static_cast<const T*>(a.cache.v) + from, offset >= 0);
  }
}

template <typename T, typename Tile>
__device__ void attend_tiles(const Attention& a, const Part& p, unsigned memory,
                             SoftmaxRows<Tile::kDim>& rows) {
  constexpr int kDim = Tile::kDim, kStages = Tile::kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const PagedRows paged = paged_rows_of(a, p);
  int next = p.tile_begin + warp;
  const auto start_next = [&](int stage) {
    if (next < p.tile_end) {
      start_tile<T, Tile>(a, paged, p, next, memory + stage * 2 * Tile::kTileBytes);
    }
    commit_copies();
    next += kWarps;
  };
  // The sequence's own key is in the last tile; it is not settled.
  const int settled_end = min(p.tile_end, (p.end - 1) / kKeys);
  int num_started = 0;
  while (num_started < kStages - 1 && next < settled_end) start_next(num_started++);
  start_next_kernel();
  wait_for_earlier_kernels();
  while (num_started < kStages - 1) start_next(num_started++);
  unsigned q[kDim / 16][4];
  load_queries<T, kDim>(a, p, q);
  const float scale = a.scale * kLog2OfE;
  int stage = 0;
  for (int tile = p.tile_begin + warp; tile < p.tile_end; tile += kWarps) {
    start_next(stage == 0 ? kStages - 1 : stage - 1);
    wait_for_copies<kStages - 1>();
    __syncwarp();
    const unsigned keys = memory + stage * 2 * Tile::kTileBytes;
    float scores[kKeys / 8][4];
    multiply_keys<T, kDim, kKeys>(scores, q, keys);
    if (tile * kKeys < p.first || (tile + 1) * kKeys > p.end) {
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = tile * kKeys + j * 8 + lane % 4 * 2 + i % 2;
          if (key < p.first || key >= p.end) scores[j][i] = -INFINITY;
        }
      }
    }
    update_softmax(rows, scores, scale);
    add_values<T, kDim, kKeys>(rows, scores, keys + Tile::kTileBytes);
    __syncwarp();
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  finish_sums(rows);
}

template <int kDim>
__device__ void leave(const SoftmaxRows<kDim>& rows, const Partial<kDim>& to) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = half * 8 + lane / 4;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      to.out(row, j * 8 + lane % 4 * 2) = rows.out[j][half * 2];
      to.out(row, j * 8 + lane % 4 * 2 + 1) = rows.out[j][half * 2 + 1];
    }
    if (lane % 4 == 0) {
      to.largest(row) = rows.largest[half];
      to.sum(row) = rows.sum[half];
    }
  }
}

constexpr int kMostParts = 32;

/// What a merge leaves for all threads to see.
struct MergeRoom {
  float weights[kMostParts][kRows], sums[kMostParts][kRows];
  float largest_of_row[kRows], sum_of_row[kRows];
};

/// Merges `count` partial results that lie `stride` floats apart and gives four neighbouring
/// elements of a row, from (row, i) on, with the row's largest and sum to `use`. All threads call
/// it.
template <int kDim, typename Use>
__device__ void merge(MergeRoom& room, float* partials, int count, std::int64_t stride,
                      int num_rows, const Use& use) {
  for (int at = threadIdx.x; at < count * kRows; at += kThreads) {
    const Partial<kDim> partial{partials + at / kRows * stride};
    room.weights[at / kRows][at % kRows] = partial.largest(at % kRows);
    room.sums[at / kRows][at % kRows] = partial.sum(at % kRows);
  }
  __syncthreads();
  if (threadIdx.x < kRows) {
    const int row = threadIdx.x;
    float largest = -INFINITY, sum = 0;
    for (int n = 0; n < count; ++n) largest = fmaxf(largest, room.weights[n][row]);
    for (int n = 0; n < count; ++n) {
      room.weights[n][row] = exp2f(room.weights[n][row] - largest);
      sum += room.weights[n][row] * room.sums[n][row];
    }
    room.largest_of_row[row] = largest;
    room.sum_of_row[row] = sum;
  }
  __syncthreads();
  for (int at = threadIdx.x * 4; at < num_rows * kDim; at += kThreads * 4) {
    const int row = at / kDim;
    float out[4] = {};
#pragma unroll 8
    for (int n = 0; n < count; ++n) {
      const Pack<float, 4> part = load_pack<float, 4>(partials + n * stride + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] += room.weights[n][row] * part.at[i];
    }
    use(row, at % kDim, out, room.largest_of_row[row], room.sum_of_row[row]);
  }
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(const Attention a, int* counters, float* partials) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ MergeRoom room;
  __shared__ bool is_last;
  constexpr int kDim = Tile::kDim;
  const Part p = part_of_cta(a);
  if (p.part >= p.num_parts) {
    if (blockIdx.x + blockIdx.y + blockIdx.z == 0) wait_for_earlier_kernels();
    return;
  }
  const int warp = threadIdx.x / 32;
  unsigned char* own = memory + warp * Tile::kWarpBytes;
  SoftmaxRows<kDim> rows;
  attend_tiles<T, Tile>(a, p, shared_address(own), rows);
  wait_for_copies<0>();
  __syncwarp();
  leave<kDim>(rows, {reinterpret_cast<float*>(own)});
  __syncthreads();

  auto* of_warps = reinterpret_cast<float*>(memory);
  constexpr std::int64_t kStride = Tile::kWarpBytes / 4;
  T* out = static_cast<T*>(a.out) + (p.token * a.num_heads + p.first_head) * kDim;
  const auto finish = [&](int row, int i, const float(&x)[4], float, float sum) {
    Pack<T, 4> pack;
#pragma unroll
    for (int j = 0; j < 4; ++j) pack.at[j] = from_float<T>(x[j] / sum);
    store_pack<T, 4>(out + row * kDim + i, pack);
  };
  if (p.num_parts == 1) return merge<kDim>(room, of_warps, kWarps, kStride, p.num_rows, finish);

  float* of_parts = partials + p.counter * gridDim.y * Tile::kMergeFloats;
  const Partial<kDim> mine{of_parts + p.part * Tile::kMergeFloats};
  merge<kDim>(room, of_warps, kWarps, kStride, p.num_rows,
              [&](int row, int i, const float(&x)[4], float largest, float sum) {
                store_pack<float, 4>(&mine.out(row, i), {x[0], x[1], x[2], x[3]});
                if (i != 0) return;
                mine.largest(row) = largest;
                mine.sum(row) = sum;
              });
  // The cta that comes last merges the parts: the others' are visible once it has counted itself.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(counters + p.counter, 1) == p.num_parts - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  merge<kDim>(room, of_parts, p.num_parts, Tile::kMergeFloats, p.num_rows, finish);
  if (threadIdx.x == 0) counters[p.counter] = 0;
}

template <typename T, typename Tile>
void launch(const Attention& a, Stream stream) {
  const auto kernel = decode_kernel<T, Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const std::int64_t heads_per_kv = a.num_heads / a.cache.num_kv_heads;
  const std::int64_t across = a.cache.num_kv_heads * ceil_div(heads_per_kv, kRows);
  const std::int64_t most = most_split_ctas(), ctas = across * a.batch.num_decodes;
  // Twice as many ctas as multiprocessors keep the memory busy; more parts only cost.
  std::int64_t parts = ctas >= most / 2 ? 1 : most / 2 / ctas;
  parts = parts < kMostParts ? parts : kMostParts;
  TRIREME_CHECK(a.workspace != nullptr, "num_decodes=", a.batch.num_decodes);
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(parts),
                  static_cast<unsigned>(a.batch.num_decodes));
  auto* counters = static_cast<int*>(a.workspace);
  // Aligned to 16 bytes: most is a multiple of 4.
  auto* partials = reinterpret_cast<float*>(counters + most);
  launch_overlapped(kernel, {grid, kThreads, Tile::kSharedBytes}, stream, a, counters, partials);
}

template <typename T>
void launch_for_dim(const Attention& a, Stream stream) {
  switch (a.cache.head_dim) {
    case 64:
      return launch<T, Tiling<64, 4>>(a, stream);
    case 128:
      return launch<T, Tiling<128, 3>>(a, stream);
    default:
      return launch<T, Tiling<256, 2>>(a, stream);
  }
}

}  // namespace

void attention_decode(const Attention& a, Stream stream) {
  if (a.cache.dtype == DType::bfloat16) return launch_for_dim<__nv_bfloat16>(a, stream);
  launch_for_dim<__half>(a, stream);
}

}  // namespace trireme::kernels::cuda
