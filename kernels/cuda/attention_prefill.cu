#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/attention_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = kWarps * 16;  ///< of a tile
constexpr float kLog2OfE = 1.4426950408889634f;

/// A cta has kRows rows of one sequence and KV head and goes through its keys in tiles of kKeys, of
/// which the next is on its way.
template <int kDim_, int kKeys_>
struct Tiling {
  static constexpr int kDim = kDim_, kKeys = kKeys_, kChunks = kDim / 8;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kSharedBytes = kQueryBytes + 4 * kTileBytes;
};

struct QueryTile {
  int seq, first_row, num_rows;  ///< seq -1: none
};

/// Tile `tile` of the sequences behind the decodes, numbered from rows before / kRows + sequence
/// on, so that none needs the sum over those before it.
__device__ QueryTile find_query_tile(const Attention& a, int tile, int heads_per_kv) {
  __shared__ QueryTile found;
  if (threadIdx.x == 0) found.seq = -1;
  __syncthreads();
  const int first_seq = static_cast<int>(a.batch.num_decodes);
  const int num_seqs = static_cast<int>(a.batch.num_seqs);
  const int first_token = a.batch.q_begin[first_seq];
  for (int seq = first_seq + threadIdx.x; seq < num_seqs; seq += blockDim.x) {
    const int begin = a.batch.q_begin[seq], end = a.batch.q_begin[seq + 1];
    const int first = (begin - first_token) * heads_per_kv / kRows + seq - first_seq;
    const int rows = (end - begin) * heads_per_kv, row = (tile - first) * kRows;
    if (tile >= first && row < rows) found = {seq, row, min(kRows, rows - row)};
  }
  __syncthreads();
  return found;
}

template <typename T, typename Tile>
__device__ void start_queries(const Attention& a, const QueryTile& tile, int heads_per_kv,
                              unsigned to) {
  const std::int64_t kv_head = blockIdx.y;
  const T* q = static_cast<const T*>(a.q);
  for (int i = threadIdx.x; i < kRows * Tile::kChunks; i += kThreads) {
    const int row = i / Tile::kChunks, chunk = i % Tile::kChunks;
    const bool is_there = row < tile.num_rows;
    const int packed = tile.first_row + (is_there ? row : 0);
    const std::int64_t token = a.batch.q_begin[tile.seq] + packed / heads_per_kv;
    const std::int64_t head = kv_head * heads_per_kv + packed % heads_per_kv;
    copy_async(to + swizzled<Tile::kChunks>(row, chunk),
               q + token * a.q_stride + head * Tile::kDim + chunk * 8, is_there);
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

/// -inf for keys that a row does not see; position of row r is that of its token.
template <int kTiles>
__device__ void mask(float (&scores)[kTiles][4], int first_tile_key, const int (&position)[2],
                     const int (&first)[2]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_tile_key + j * 8 + lane % 4 * 2 + i % 2;
      if (key > position[i / 2] || key < first[i / 2]) scores[j][i] = -INFINITY;
    }
  }
}

template <typename T, int kDim>
__device__ void store_rows(const Attention& a, const QueryTile& tile, int heads_per_kv,
                           const SoftmaxRows<kDim>& rows) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + half * 8 + lane / 4;
    if (row >= tile.num_rows) continue;
    const int packed = tile.first_row + row;
    const std::int64_t token = a.batch.q_begin[tile.seq] + packed / heads_per_kv;
    const std::int64_t head =
        static_cast<std::int64_t>(blockIdx.y) * heads_per_kv + packed % heads_per_kv;
    T* to = static_cast<T*>(a.out) + (token * a.num_heads + head) * kDim + lane % 4 * 2;
    const float factor = 1.0f / rows.sum[half];
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      *reinterpret_cast<unsigned*>(to + j * 8) =
          pack_two(rows.out[j][half * 2] * factor, rows.out[j][half * 2 + 1] * factor, T{});
    }
  }
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(kThreads) prefill_kernel(const Attention a) {
  extern __shared__ __align__(128) unsigned char memory[];
  constexpr int kDim = Tile::kDim, kKeys = Tile::kKeys;
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  // The last tiles of a sequence see most keys: they come first.
  const QueryTile tile =
      find_query_tile(a, static_cast<int>(gridDim.x - 1 - blockIdx.x), heads_per_kv);
  if (tile.seq < 0) return;
  const unsigned queries = shared_address(memory), tiles = queries + Tile::kQueryBytes;
  const PagedRows paged = paged_rows(a, tile.seq, blockIdx.y);
  const int base = a.batch.first_position[tile.seq];
  const int lowest = base + tile.first_row / heads_per_kv;
  const int highest = base + (tile.first_row + tile.num_rows - 1) / heads_per_kv;
  const int first = first_key(a, lowest), end = highest + 1;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int position[2], first_of_row[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = min(warp * 16 + half * 8 + lane / 4, tile.num_rows - 1);
    position[half] = base + (tile.first_row + row) / heads_per_kv;
    first_of_row[half] = first_key(a, position[half]);
  }

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
    const bool sees_all = begin + kKeys - 1 <= lowest && begin >= first_key(a, highest);
    if (!sees_all) mask(scores, begin, position, first_of_row);
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
  if (a.cache.dtype == DType::bfloat16) return launch_for_dim<__nv_bfloat16>(a, stream);
  launch_for_dim<__half>(a, stream);
}

}  // namespace trireme::kernels::cuda
