#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/attention_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/prefill_tile.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = kWarps * 16;  ///< of a tile

/// A cta has kRows rows of one sequence and KV head and goes through its keys in tiles of kKeys, of
/// which the next is on its way.
template <int kDim_, int kKeys_>
struct Tiling {
  static constexpr int kDim = kDim_, kKeys = kKeys_, kChunks = kDim / 8;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kSharedBytes = kQueryBytes + 4 * kTileBytes;
};

template <typename T, typename Tile>
__device__ void start_queries(const Attention& a, const QueryTile& tile, int heads_per_kv,
                              unsigned to) {
  const T* q = static_cast<const T*>(a.q);
  for (int i = threadIdx.x; i < kRows * Tile::kChunks; i += kThreads) {
    const int row = i / Tile::kChunks, chunk = i % Tile::kChunks;
    const bool is_there = row < tile.num_rows;
    const QueryRow from = query_row(a, tile, heads_per_kv, is_there ? row : 0);
    copy_async(to + swizzled<Tile::kChunks>(row, chunk),
               q + from.token * a.q_stride + from.head * Tile::kDim + chunk * 8, is_there);
  }
}

/// Keys and values [begin, begin + kKeys); zeros outside of [first, end), where memory may hold
/// anything.
template <typename T, typename Tile>
__device__ void start_keys(const Attention& a, const PagedRows& rows, int begin, int first, int end,
                           unsigned keys, unsigned values) {
  const T* k = static_cast<const T*>(a.cache.k);
  const T* v = static_cast<const T*>(a.cache.v);
#pragma unroll
  for (int i = 0; i < Tile::kKeys * Tile::kChunks / kThreads; ++i) {
    const int at = i * kThreads + threadIdx.x;
    const int row = at / Tile::kChunks, chunk = at % Tile::kChunks, key = begin + row;
    const std::int64_t offset = key >= first && key < end ? rows.offset(key) : -1;
    const std::int64_t from = offset < 0 ? 0 : offset + chunk * 8;
    copy_async(keys + swizzled<Tile::kChunks>(row, chunk), k + from, offset >= 0);
    copy_async(values + swizzled<Tile::kChunks>(row, chunk), v + from, offset >= 0);
  }
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(kThreads) prefill_kernel(const Attention a) {
  extern __shared__ __align__(128) unsigned char memory[];
  constexpr int kDim = Tile::kDim, kKeys = Tile::kKeys;
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  // The last tiles of a sequence see most keys: they come first.
  const QueryTile tile =
      find_query_tile<kRows>(a, static_cast<int>(gridDim.x - 1 - blockIdx.x), heads_per_kv);
  if (tile.seq < 0) return;
  const unsigned queries = shared_address(memory), tiles = queries + Tile::kQueryBytes;
  const PagedRows paged = paged_rows(a, tile.seq, blockIdx.y);
  const SeenKeys seen(a, tile, heads_per_kv);
  const int first = seen.first, end = seen.end;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  start_queries<T, Tile>(a, tile, heads_per_kv, queries);
  int begin = first / kKeys * kKeys;
  start_keys<T, Tile>(a, paged, begin, first, end, tiles, tiles + Tile::kTileBytes);
  commit_copies();
  unsigned q[kDim / 16][4];
  SoftmaxRows<kDim> rows;
  const float scale = a.scale * kLog2OfE;
  bool is_first = true;
  for (int stage = 0; begin < end; begin += kKeys, stage ^= 1) {
    const unsigned keys = tiles + stage * 2 * Tile::kTileBytes;
    if (begin + kKeys < end) {
      const unsigned next = tiles + (stage ^ 1) * 2 * Tile::kTileBytes;
      start_keys<T, Tile>(a, paged, begin + kKeys, first, end, next, next + Tile::kTileBytes);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (is_first || kDim > 128) {
      // Once for short rows; long ones do not fit the registers beside the sums.
      is_first = false;
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) {
        load_matrices(q[step], queries + swizzled<Tile::kChunks>(warp * 16 + lane % 16,
                                                                 step * 2 + lane / 16));
      }
    }
    float scores[kKeys / 8][4];
    multiply_keys<T, kDim, kKeys>(scores, q, keys);
    if (!seen.are_all(a, begin, kKeys)) mask(scores, begin, seen);
    update_softmax(rows, scores, scale);
    add_values<T, kDim, kKeys>(rows, scores, keys + Tile::kTileBytes);
    __syncthreads();
  }
  finish_sums(rows);
  store_rows<T, kDim>(a, tile, heads_per_kv, rows);
}

template <typename T, typename Tile>
void launch(const Attention& a, Stream stream) {
  const auto kernel = prefill_kernel<T, Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const std::int64_t heads_per_kv = a.num_heads / a.cache.num_kv_heads;
  const std::int64_t tiles =
      a.num_tokens * heads_per_kv / kRows + a.batch.num_seqs - a.batch.num_decodes;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a.cache.num_kv_heads));
  kernel<<<grid, kThreads, Tile::kSharedBytes, stream>>>(a);
}

template <typename T>
void launch_for_dim(const Attention& a, Stream stream) {
  switch (a.cache.head_dim) {
    case 64:
      return launch<T, Tiling<64, 64>>(a, stream);
    case 128:
      return launch<T, Tiling<128, 64>>(a, stream);
    default:
      return launch<T, Tiling<256, 32>>(a, stream);
  }
}

}  // namespace

void attention_prefill(const Attention& a, Stream stream) {
  const std::int64_t rows = a.num_tokens * (a.num_heads / a.cache.num_kv_heads);
  const bool has_long_rows =
      !a.is_invariant && rows >= 128 * (a.batch.num_seqs - a.batch.num_decodes);
  if (has_long_rows && can_pipeline_prefill(a)) return attention_prefill_pipelined(a, stream);
  if (a.cache.dtype == DType::bfloat16) return launch_for_dim<__nv_bfloat16>(a, stream);
  launch_for_dim<__half>(a, stream);
}

}  // namespace trireme::kernels::cuda
