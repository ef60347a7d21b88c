#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/stream_launch.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/cuda/detail/weight_stream.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kMostPlaces = 64;
using Tile = StreamTiling<16, 8, 4, 2>;

/// The slots that have places, a chunk for each kTokens of them, and the rows of x that these read.
struct Chunks {
  int count;
  int slot[kMostPlaces], begin[kMostPlaces], end[kMostPlaces];
  std::int64_t x_row[kMostPlaces];  ///< of a place
};

/// All threads call it and may read `chunks` behind it. Loads past the L1 cache, for places that
/// are settled.
__device__ void find_chunks(const GroupedProduct& p, Chunks& chunks) {
  __shared__ unsigned starts[kMostPlaces / 32];  // bits: places where a chunk begins
  __shared__ int slot_at[kMostPlaces], end_at[kMostPlaces];
  const int place = threadIdx.x;
  int slot = threadIdx.x, begin = 0, end = 0;
  const auto load_slot = [&] {
    if (slot >= p.num_slots) return;
    begin = __ldcg(p.expert_begin + slot);
    end = __ldcg(p.expert_begin + slot + 1);
  };
  load_slot();
  const int num_placed = min(__ldcg(p.expert_begin + p.num_slots), kMostPlaces);
  if (place < kMostPlaces / 32) starts[place] = 0;
  __syncthreads();
  if (place < num_placed) chunks.x_row[place] = row_of_place(p, place);
  while (slot < p.num_slots) {
    end = min(end, num_placed);
    for (int at = begin; at < end; at += Tile::kTokens) {
      atomicOr(&starts[at / 32], 1u << at % 32);
      slot_at[at] = slot;
      end_at[at] = min(end, at + Tile::kTokens);
    }
    slot += Tile::kThreads;
    load_slot();
  }
  __syncthreads();
  if (place < kMostPlaces && (starts[place / 32] >> place % 32 & 1) != 0) {
    int before = __popc(starts[place / 32] & ((1u << place % 32) - 1));
    for (int word = 0; word < place / 32; ++word) before += __popc(starts[word]);
    chunks.slot[before] = slot_at[place];
    chunks.begin[before] = place;
    chunks.end[before] = end_at[place];
  }
  if (threadIdx.x == 0) {
    chunks.count = 0;
    for (const unsigned word : starts) chunks.count += __popc(word);
  }
  __syncthreads();
}

/// Tiles of the first chunk's slot, then the next one's.
template <typename T, bool kHasSilu>
struct ExpertTiles {
  static constexpr int kHalf = Tile::kRows / 2;
  static constexpr int kColumns = kHasSilu ? kHalf : Tile::kRows;  ///< of y in a tile
  const GroupedProduct& p;
  const Chunks& chunks;
  int k, columns, tiles_of_chunk;  ///< columns: of y

  __device__ ExpertTiles(const GroupedProduct& product, const Chunks& of_product)
      : p(product),
        chunks(of_product),
        k(static_cast<int>(product.k)),
        columns(static_cast<int>(kHasSilu ? product.n / 2 : product.n)),
        tiles_of_chunk((columns + kColumns - 1) / kColumns) {}
  __device__ int num_tiles() const { return chunks.count * tiles_of_chunk; }
  __device__ WeightTile<T> weight_tile(int tile) const {
    const std::int64_t slot = chunks.slot[tile / tiles_of_chunk];
    const int column = tile % tiles_of_chunk * kColumns, left = columns - column;
    const T* first = static_cast<const T*>(p.weight) + (slot * p.n + column) * p.k;
    if constexpr (kHasSilu) return {{first, first + columns * p.k}, {left, left}};
    return {{first, first + kHalf * p.k}, {left, left - kHalf}};
  }
  __device__ const T* x_row(int tile, int token) const {
    const int chunk = tile / tiles_of_chunk, place = chunks.begin[chunk] + token;
    if (place >= chunks.end[chunk]) return nullptr;
    return static_cast<const T*>(p.x) + chunks.x_row[place] * p.x_stride;
  }
  __device__ void store(int tile, const TileSums<Tile>& sums) const {
    const int chunk = tile / tiles_of_chunk, first = tile % tiles_of_chunk * kColumns;
    const int num_sums = (chunks.end[chunk] - chunks.begin[chunk]) * kColumns;
    for (int i = threadIdx.x; i < num_sums; i += Tile::kThreads) {
      const int token = i / kColumns, column = i % kColumns;
      if (first + column >= columns) continue;
      float result = sums(token, column);
      if constexpr (kHasSilu) {
        result = result / (1.0f + __expf(-result)) * sums(token, kHalf + column);
      }
      const std::int64_t row = chunks.begin[chunk] + token;
      static_cast<T*>(p.y)[row * columns + first + column] = from_float<T>(result);
    }
  }
};

template <typename T, bool kHasSilu>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kCtas)
    few_places_kernel(const __grid_constant__ GroupedProduct p) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ Chunks chunks;
  if (!p.follows_product) wait_for_earlier_kernels();
  find_chunks(p, chunks);
  stream_tiles<T, Tile>(ExpertTiles<T, kHasSilu>(p, chunks), memory);
}

template <typename T, bool kHasSilu>
void launch(const GroupedProduct& p, Stream stream) {
  // Every place may be the only one of its slot.
  const std::int64_t tiles_of_chunk = ceil_div(p.n, Tile::kRows);
  launch_stream<Tile>(few_places_kernel<T, kHasSilu>, p.num_places * tiles_of_chunk, stream, p);
}

template <typename T>
void launch_for_silu(const GroupedProduct& p, Stream stream) {
  if (p.has_silu_and_mul) return launch<T, true>(p, stream);
  launch<T, false>(p, stream);
}

}  // namespace

bool takes_grouped_product_small(const GroupedProduct& p) {
  constexpr int kShared = Tile::kSharedBytes + static_cast<int>(sizeof(Chunks)) + 1024;
  return p.num_places <= kMostPlaces && p.num_places <= 4 * p.num_slots && p.k % 8 == 0 &&
         p.k < (std::int64_t{1} << 30) && p.n < (std::int64_t{1} << 24) &&
         has_shared_memory(kShared);
}

void grouped_product_small(const GroupedProduct& product, Stream stream) {
  TRIREME_CHECK(!product.follows_product || product.pair_at == nullptr,
                "num_places=", product.num_places);
  if (product.dtype == DType::bfloat16) return launch_for_silu<__nv_bfloat16>(product, stream);
  launch_for_silu<__half>(product, stream);
}

}  // namespace trireme::kernels::cuda
