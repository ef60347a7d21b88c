#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/decode_heads.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kKeys = 16;  ///< of a warp's tile

/// A cta has up to Heads::kHeads query heads of one sequence and KV head and one part of its keys.
/// Each warp goes through every kWarps-th tile of keys on its own, with the next tiles on their
/// way, so that no barrier is needed before the warps' results are merged.
template <typename T_, int kDim_, int kStages_, template <typename, int> typename Heads_>
struct Tiling {
  using T = T_;
  using Heads = Heads_<T, kDim_>;
  static constexpr int kHeads = Heads::kHeads;
  using Partial = PartialHeads<kHeads, kDim_>;
  static constexpr int kDim = kDim_, kStages = kStages_, kChunks = kDim / 8;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kWarpBytes = kStages * 2 * kTileBytes;
  static constexpr int kSharedBytes = kWarps * kWarpBytes;
  static_assert(kWarpBytes >= Partial::kFloats * 4 && kHeads <= kRowsOfDecodeTile);
};

struct Part {
  std::int64_t seq, kv_head, first_head, counter;
  std::int64_t token;
  int num_heads;
  int first, end;            ///< keys that the query sees; the last one is its own
  int tile_begin, tile_end;  ///< of this cta
  int num_parts, part;
};

// What is read before the wait is settled, past the L1 cache: the batch's arrays and the keys
// before a sequence's own, which earlier steps have written. Products are between those and this.

template <int kHeads>
__device__ Part part_of_cta(const Attention& a) {
  Part p;
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  const int head_groups = (heads_per_kv + kHeads - 1) / kHeads;
  p.seq = blockIdx.z;
  p.kv_head = blockIdx.x / head_groups;
  const int first_head = blockIdx.x % head_groups * kHeads;
  p.first_head = p.kv_head * heads_per_kv + first_head;
  p.num_heads = min(kHeads, heads_per_kv - first_head);
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

template <typename Tile>
__device__ void start_tile(const Attention& a, const PagedRows& paged, const Part& p, int tile,
                           unsigned keys) {
  using T = typename Tile::T;
  const int lane = threadIdx.x % 32;
  const int first = p.first - tile * kKeys, end = p.end - tile * kKeys;
  // A block has at least as many keys as a tile, or fewer.
  const bool is_one_block = (1 << paged.shift) >= kKeys;
  const int own_key = tile * kKeys + (is_one_block ? 0 : lane % kKeys);
  const bool is_known = is_one_block || (own_key >= p.first && own_key < p.end);
  const std::int64_t own_offset = is_known ? offset_of_key(paged, own_key) : -1;
#pragma unroll
  for (int i = 0; i < Tile::kChunks * kKeys / 32; ++i) {
    const int at = i * 32 + lane, row = at / Tile::kChunks, chunk = at % Tile::kChunks;
    const std::int64_t of_row =
        is_one_block ? own_offset : __shfl_sync(0xffffffffu, own_offset, row);
    const bool is_there = of_row >= 0 && row >= first && row < end;
    const std::int64_t in_block = is_one_block ? row * Tile::kDim : 0;
    const std::int64_t from = is_there ? of_row + in_block + chunk * 8 : 0;
    const unsigned to = keys + swizzled<Tile::kChunks>(row, chunk);
    copy_async(to, static_cast<const T*>(a.cache.k) + from, is_there);
    copy_async(to + Tile::kTileBytes, static_cast<const T*>(a.cache.v) + from, is_there);
  }
}

template <typename Tile>
__device__ void attend_tiles(const Attention& a, const Part& p, unsigned memory,
                             typename Tile::Heads& heads) {
  constexpr int kStages = Tile::kStages;
  const int warp = threadIdx.x / 32;
  const PagedRows paged = paged_rows_of(a, p);
  int next = p.tile_begin + warp;
  const auto start_next = [&](int stage) {
    if (next < p.tile_end) {
      start_tile<Tile>(a, paged, p, next, memory + stage * 2 * Tile::kTileBytes);
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
  heads.load(
      static_cast<const typename Tile::T*>(a.q) + p.token * a.q_stride + p.first_head * Tile::kDim,
      p.num_heads);
  const float scale = a.scale * kLog2OfE;
  int stage = 0;
  for (int tile = p.tile_begin + warp; tile < p.tile_end; tile += kWarps) {
    start_next(stage == 0 ? kStages - 1 : stage - 1);
    wait_for_copies<kStages - 1>();
    __syncwarp();
    const unsigned keys = memory + stage * 2 * Tile::kTileBytes;
    heads.attend(keys, keys + Tile::kTileBytes, scale, p.first - tile * kKeys,
                 p.end - tile * kKeys);
    __syncwarp();
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
}

constexpr int kMostParts = 32;

/// What a merge leaves for all threads to see.
template <int kHeads>
struct MergeRoom {
  float weights[kMostParts][kHeads], sums[kMostParts][kHeads];
  float largest_of_head[kHeads], sum_of_head[kHeads];
};

/// Merges `count` partial results that lie `stride` floats apart and gives four neighbouring
/// elements of a head, from (head, i) on, with the head's largest and sum to `use`. All threads
/// call it.
template <typename Tile, typename Use>
__device__ void merge(MergeRoom<Tile::kHeads>& room, float* partials, int count,
                      std::int64_t stride, int num_heads, const Use& use) {
  constexpr int kDim = Tile::kDim, kHeads = Tile::kHeads;
  for (int at = threadIdx.x; at < count * kHeads; at += kThreads) {
    const typename Tile::Partial partial{partials + at / kHeads * stride};
    room.weights[at / kHeads][at % kHeads] = partial.largest(at % kHeads);
    room.sums[at / kHeads][at % kHeads] = partial.sum(at % kHeads);
  }
  __syncthreads();
  if (threadIdx.x < kHeads) {
    const int head = threadIdx.x;
    float largest = -INFINITY, sum = 0;
    for (int n = 0; n < count; ++n) largest = fmaxf(largest, room.weights[n][head]);
    for (int n = 0; n < count; ++n) {
      room.weights[n][head] = exp2f(room.weights[n][head] - largest);
      sum += room.weights[n][head] * room.sums[n][head];
    }
    room.largest_of_head[head] = largest;
    room.sum_of_head[head] = sum;
  }
  __syncthreads();
  for (int at = threadIdx.x * 4; at < num_heads * kDim; at += kThreads * 4) {
    const int head = at / kDim;
    float out[4] = {};
#pragma unroll 8
    for (int n = 0; n < count; ++n) {
      const Pack<float, 4> part = load_pack<float, 4>(partials + n * stride + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] += room.weights[n][head] * part.at[i];
    }
    use(head, at % kDim, out, room.largest_of_head[head], room.sum_of_head[head]);
  }
}

template <typename Tile>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(const Attention a, int* counters, float* partials) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ MergeRoom<Tile::kHeads> room;
  __shared__ bool is_last;
  using T = typename Tile::T;
  using Partial = typename Tile::Partial;
  constexpr int kDim = Tile::kDim;
  const Part p = part_of_cta<Tile::kHeads>(a);
  if (p.part >= p.num_parts) {
    if (blockIdx.x + blockIdx.y + blockIdx.z == 0) wait_for_earlier_kernels();
    return;
  }
  const int warp = threadIdx.x / 32;
  unsigned char* own = memory + warp * Tile::kWarpBytes;
  typename Tile::Heads heads;
  attend_tiles<Tile>(a, p, shared_address(own), heads);
  wait_for_copies<0>();
  __syncwarp();
  heads.leave(Partial{reinterpret_cast<float*>(own)});
  __syncthreads();

  auto* of_warps = reinterpret_cast<float*>(memory);
  constexpr std::int64_t kStride = Tile::kWarpBytes / 4;
  T* out = static_cast<T*>(a.out) + (p.token * a.num_heads + p.first_head) * kDim;
  const auto finish = [&](int head, int i, const float(&x)[4], float, float sum) {
    Pack<T, 4> pack;
#pragma unroll
    for (int j = 0; j < 4; ++j) pack.at[j] = from_float<T>(x[j] / sum);
    store_pack<T, 4>(out + head * kDim + i, pack);
  };
  if (p.num_parts == 1) return merge<Tile>(room, of_warps, kWarps, kStride, p.num_heads, finish);

  float* of_parts = partials + p.counter * gridDim.y * Partial::kFloats;
  const Partial mine{of_parts + p.part * Partial::kFloats};
  merge<Tile>(room, of_warps, kWarps, kStride, p.num_heads,
              [&](int head, int i, const float(&x)[4], float largest, float sum) {
                store_pack<float, 4>(&mine.out(head, i), {x[0], x[1], x[2], x[3]});
                if (i != 0) return;
                mine.largest(head) = largest;
                mine.sum(head) = sum;
              });
  // The cta that comes last merges the parts: the others' are visible once it has counted itself.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(counters + p.counter, 1) == p.num_parts - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  merge<Tile>(room, of_parts, p.num_parts, Partial::kFloats, p.num_heads, finish);
  if (threadIdx.x == 0) counters[p.counter] = 0;
}

template <typename Tile>
void launch(const Attention& a, Stream stream) {
  const auto kernel = decode_kernel<Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const std::int64_t heads_per_kv = a.num_heads / a.cache.num_kv_heads;
  const std::int64_t across = a.cache.num_kv_heads * ceil_div(heads_per_kv, Tile::kHeads);
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

template <typename T, int kDim, int kStages>
void launch_for_heads(const Attention& a, Stream stream) {
  if (a.num_heads / a.cache.num_kv_heads <= 8) {
    return launch<Tiling<T, kDim, kStages, EightHeads>>(a, stream);
  }
  launch<Tiling<T, kDim, kStages, SixteenHeads>>(a, stream);
}

template <typename T>
void launch_for_dim(const Attention& a, Stream stream) {
  switch (a.cache.head_dim) {
    case 64:
      return launch_for_heads<T, 64, 4>(a, stream);
    case 128:
      return launch_for_heads<T, 128, 3>(a, stream);
    default:
      return launch_for_heads<T, 256, 2>(a, stream);
  }
}

}  // namespace

void attention_decode(const Attention& a, Stream stream) {
  if (a.cache.dtype == DType::bfloat16) return launch_for_dim<__nv_bfloat16>(a, stream);
  launch_for_dim<__half>(a, stream);
}

}  // namespace trireme::kernels::cuda
