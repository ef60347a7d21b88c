#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/attention_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/prefill_tile.cuh"
#include "kernels/cuda/detail/wgmma.cuh"

namespace trireme::kernels::cuda {
namespace {

/// Warpgroups have 64 rows each and go through the same tiles of keys, of which the next is on its
/// way. In shared memory a row is cut into tiles of 64 elements.
template <int kDim_, int kGroups, int kKeys_, int kCtas_>
struct Tiling {
  static constexpr int kDim = kDim_, kKeys = kKeys_, kCtas = kCtas_;
  static constexpr int kRows = kGroups * 64, kThreads = kGroups * 128;
  static constexpr int kParts = kDim / 64;
  static constexpr int kQueryPartBytes = kRows * 128, kQueryBytes = kParts * kQueryPartBytes;
  static constexpr int kKeyPartBytes = kKeys * 128, kTileBytes = kParts * kKeyPartBytes;
  static constexpr int kSharedBytes = kQueryBytes + 4 * kTileBytes + 1024;  // to align the first
};

/// Byte offset of 16-byte chunk `chunk` of a row, in tiles of kPartBytes.
template <int kPartBytes>
__device__ unsigned offset_of(int row, int chunk) {
  return static_cast<unsigned>(chunk / 8 * kPartBytes) + swizzled<8>(row, chunk % 8);
}

template <typename T, typename Tile>
__device__ void start_queries(const Attention& a, const QueryTile& tile, int heads_per_kv,
                              unsigned to) {
  constexpr int kChunks = Tile::kDim / 8;
  const T* q = static_cast<const T*>(a.q);
  for (int i = threadIdx.x; i < Tile::kRows * kChunks; i += Tile::kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool is_there = row < tile.num_rows;
    const QueryRow from = query_row(a, tile, heads_per_kv, is_there ? row : 0);
    copy_async(to + offset_of<Tile::kQueryPartBytes>(row, chunk),
               q + from.token * a.q_stride + from.head * Tile::kDim + chunk * 8, is_there);
  }
}

/// Keys and values from `begin` on; zeros outside of what is seen, where memory may hold anything.
template <typename T, typename Tile>
__device__ void start_keys(const Attention& a, const PagedRows& rows, int begin,
                           const SeenKeys& seen, unsigned keys) {
  constexpr int kChunks = Tile::kDim / 8;
  const T* k = static_cast<const T*>(a.cache.k);
  const T* v = static_cast<const T*>(a.cache.v);
#pragma unroll
  for (int i = 0; i < Tile::kKeys * kChunks / Tile::kThreads; ++i) {
    const int at = i * Tile::kThreads + threadIdx.x;
    const int row = at / kChunks, chunk = at % kChunks, key = begin + row;
    const std::int64_t offset = key >= seen.first && key < seen.end ? rows.offset(key) : -1;
    const std::int64_t from = offset < 0 ? 0 : offset + chunk * 8;
    const unsigned to = keys + offset_of<Tile::kKeyPartBytes>(row, chunk);
    copy_async(to, k + from, offset >= 0);
    copy_async(to + Tile::kTileBytes, v + from, offset >= 0);
  }
}

/// A warpgroup's scores of a tile of keys.
template <typename T, typename Tile>
__device__ void multiply_keys_of_group(float (&scores)[Tile::kKeys / 8][4], unsigned queries,
                                       unsigned keys) {
  auto& flat = reinterpret_cast<float(&)[Tile::kKeys / 2]>(scores);
  wgmma::fence();
#pragma unroll
  for (int step = 0; step < Tile::kDim / 16; ++step) {
    const unsigned in_row = step % 4 * 32, part = step / 4;
    wgmma::multiply(flat, wgmma::rows_of_128_bytes(queries + part * Tile::kQueryPartBytes + in_row),
                    wgmma::rows_of_128_bytes(keys + part * Tile::kKeyPartBytes + in_row), step > 0,
                    T{});
  }
  wgmma::commit();
  wgmma::wait_for_products<0>();
}

template <typename T, typename Tile>
__device__ void add_values_of_group(SoftmaxRows<Tile::kDim>& rows,
                                    const float (&weights)[Tile::kKeys / 8][4], unsigned values) {
  auto& flat = reinterpret_cast<float(&)[Tile::kDim / 2]>(rows.out);
  unsigned a[Tile::kKeys / 16][4];
#pragma unroll
  for (int step = 0; step < Tile::kKeys / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto& tile = weights[step * 2 + i / 2];
      a[step][i] = pack_two(tile[i % 2 * 2], tile[i % 2 * 2 + 1], T{});
    }
  }
  wgmma::fence();
#pragma unroll
  for (int step = 0; step < Tile::kKeys / 16; ++step) {
    wgmma::multiply_values(
        flat, a[step], wgmma::columns_of_128_bytes(values + step * 2048, Tile::kKeyPartBytes), T{});
  }
  wgmma::commit();
  wgmma::wait_for_products<0>();
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kCtas)
    prefill_wgmma_kernel(const Attention a) {
  extern __shared__ unsigned char memory[];
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  // The last tiles of a sequence see most keys: they come first.
  const QueryTile tile =
      find_query_tile<Tile::kRows>(a, static_cast<int>(gridDim.x - 1 - blockIdx.x), heads_per_kv);
  if (tile.seq < 0) return;
  const unsigned queries = (shared_address(memory) + 1023) / 1024 * 1024;
  const unsigned tiles = queries + Tile::kQueryBytes;
  const PagedRows paged = paged_rows(a, tile.seq, blockIdx.y);
  const SeenKeys seen(a, tile, heads_per_kv);

  start_queries<T, Tile>(a, tile, heads_per_kv, queries);
  int begin = seen.first / Tile::kKeys * Tile::kKeys;
  start_keys<T, Tile>(a, paged, begin, seen, tiles);
  commit_copies();
  SoftmaxRows<Tile::kDim> rows;
  const float scale = a.scale * kLog2OfE;
  const unsigned group_queries = queries + threadIdx.x / 128 * 64 * 128;
  for (int stage = 0; begin < seen.end; begin += Tile::kKeys, stage ^= 1) {
    wait_for_copies<0>();
    wgmma::fence_shared_writes();
    // Behind this barrier everybody has left the tile before, whose place the next one takes.
    __syncthreads();
    if (begin + Tile::kKeys < seen.end) {
      start_keys<T, Tile>(a, paged, begin + Tile::kKeys, seen,
                          tiles + (stage ^ 1) * 2 * Tile::kTileBytes);
    }
    commit_copies();
    const unsigned keys = tiles + stage * 2 * Tile::kTileBytes;
    float scores[Tile::kKeys / 8][4];
    multiply_keys_of_group<T, Tile>(scores, group_queries, keys);
    if (!seen.are_all(a, begin, Tile::kKeys)) mask(scores, begin, seen);
    update_softmax(rows, scores, scale);
    add_values_of_group<T, Tile>(rows, scores, keys + Tile::kTileBytes);
  }
  finish_sums(rows);
  store_rows<T, Tile::kDim>(a, tile, heads_per_kv, rows);
}

template <typename T, typename Tile>
void launch(const Attention& a, Stream stream) {
  const auto kernel = prefill_wgmma_kernel<T, Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const std::int64_t heads_per_kv = a.num_heads / a.cache.num_kv_heads;
  const std::int64_t tiles =
      a.num_tokens * heads_per_kv / Tile::kRows + a.batch.num_seqs - a.batch.num_decodes;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a.cache.num_kv_heads));
  kernel<<<grid, Tile::kThreads, Tile::kSharedBytes, stream>>>(a);
}

// Two ctas a multiprocessor: one multiplies while the other is at its softmax, its start or its
// end.
template <int kDim>
using Chosen = Tiling<kDim, 2, 64, 2>;

template <typename T>
void launch_for_dim(const Attention& a, Stream stream) {
  if (a.cache.head_dim == 64) return launch<T, Chosen<64>>(a, stream);
  launch<T, Chosen<128>>(a, stream);
}

}  // namespace

bool has_attention_prefill_wgmma() {
  // Other GPUs, and builds without sm_90a, have the kernel from PTX in which it is empty.
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    const auto kernel = prefill_wgmma_kernel<__nv_bfloat16, Chosen<128>>;
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion == 90;
  }();
  return has_it;
}

void attention_prefill_wgmma(const Attention& a, Stream stream) {
  if (a.cache.dtype == DType::bfloat16) return launch_for_dim<__nv_bfloat16>(a, stream);
  launch_for_dim<__half>(a, stream);
}

}  // namespace trireme::kernels::cuda
