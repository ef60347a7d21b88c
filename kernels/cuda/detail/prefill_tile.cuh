#pragma once

#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/attention_tile.cuh"

/// Tiles of the prefill kernel whose warps load and multiply: warp w of a cta has rows 16 · w to 16
/// · w + 15 of its tile.
namespace trireme::kernels::cuda {

struct QueryTile {
  int seq, first_row, num_rows;  ///< seq -1: none
};

/// Tile `tile` of the sequences behind the decodes, numbered from rows before / kRows + sequence
/// on, so that none needs the sum over those before it.
template <int kRows>
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

/// Where a row of a tile comes from and goes to.
struct QueryRow {
  std::int64_t token, head;
};
__device__ inline QueryRow query_row(const Attention& a, const QueryTile& tile, int heads_per_kv,
                                     int row) {
  const int packed = tile.first_row + row;
  return {a.batch.q_begin[tile.seq] + packed / heads_per_kv,
          static_cast<std::int64_t>(blockIdx.y) * heads_per_kv + packed % heads_per_kv};
}

/// The keys that a tile's rows see, and those of this lane's two rows.
struct SeenKeys {
  int lowest, highest;  ///< positions of the first and the last row
  int first, end;       ///< of all rows
  int position[2], first_of_row[2];

  __device__ SeenKeys(const Attention& a, const QueryTile& tile, int heads_per_kv) {
    const int base = a.batch.first_position[tile.seq];
    lowest = base + tile.first_row / heads_per_kv;
    highest = base + (tile.first_row + tile.num_rows - 1) / heads_per_kv;
    first = first_key(a, lowest);
    end = highest + 1;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int of_warp = threadIdx.x / 32 * 16 + half * 8 + threadIdx.x % 32 / 4;
      const int row = min(of_warp, tile.num_rows - 1);
      position[half] = base + (tile.first_row + row) / heads_per_kv;
      first_of_row[half] = first_key(a, position[half]);
    }
  }
  /// Whether every row sees all keys of [begin, begin + count).
  __device__ bool are_all(const Attention& a, int begin, int count) const {
    return begin + count - 1 <= lowest && begin >= first_key(a, highest);
  }
};

/// -inf for keys that a row does not see.
template <int kTiles>
__device__ void mask(float (&scores)[kTiles][4], int first_tile_key, const SeenKeys& seen) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_tile_key + j * 8 + lane % 4 * 2 + i % 2;
      if (key > seen.position[i / 2] || key < seen.first_of_row[i / 2]) scores[j][i] = -INFINITY;
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
    const QueryRow at = query_row(a, tile, heads_per_kv, row);
    T* to = static_cast<T*>(a.out) + (at.token * a.num_heads + at.head) * kDim + lane % 4 * 2;
    const float factor = 1.0f / rows.sum[half];
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      *reinterpret_cast<unsigned*>(to + j * 8) =
          pack_two(rows.out[j][half * 2] * factor, rows.out[j][half * 2 + 1] * factor, T{});
    }
  }
}

}  // namespace trireme::kernels::cuda
