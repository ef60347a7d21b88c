#include "kernels/attention.h"

#include <omp.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/cpu/detail/attention_tile.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::byte* slot_at(void* cache_of, const KvCache& cache, std::int64_t slot, std::int64_t head) {
  const std::int64_t block = slot / cache.tokens_per_block, offset = slot % cache.tokens_per_block;
  const std::int64_t row = (block * cache.num_kv_heads + head) * cache.tokens_per_block + offset;
  return static_cast<std::byte*>(cache_of) +
         static_cast<std::size_t>(row * cache.head_dim) * size_of(cache.dtype);
}

/// The tiles of a step, the last of each sequence first: they see most keys, and what is left for
/// the end should be short.
struct TileAt {
  std::int64_t seq, first_row, num_rows;
};

std::vector<TileAt> cut_tiles(const AttentionBatch& batch, std::int64_t heads_per_kv) {
  std::vector<TileAt> tiles;
  for (std::int64_t seq = 0; seq < batch.num_seqs; ++seq) {
    const std::int64_t num_rows = (batch.q_begin[seq + 1] - batch.q_begin[seq]) * heads_per_kv;
    const std::int64_t count = ceil_div(num_rows, kMostRowsOfTile);
    for (std::int64_t tile = count - 1; tile >= 0; --tile) {
      const std::int64_t begin = num_rows * tile / count, end = num_rows * (tile + 1) / count;
      tiles.push_back({seq, begin, end - begin});
    }
  }
  return tiles;
}

std::int64_t work_of(const AttentionBatch& batch, std::int64_t row_size) {
  std::int64_t work = 0;
  for (std::int64_t seq = 0; seq < batch.num_seqs; ++seq) {
    const std::int64_t num_tokens = batch.q_begin[seq + 1] - batch.q_begin[seq];
    work += num_tokens * (batch.first_position[seq] + num_tokens) * row_size;
  }
  return work;
}

}  // namespace

void append_kv(const float* k, const float* v, std::int64_t stride,
               const std::int64_t* slot_mapping, std::int64_t num_tokens, const KvCache& cache,
               InstructionSet set) {
  const StoreKernel store =
      choose<StoreKernel>(set, store_row_generic, store_row_avx2, store_row_avx512);
#pragma omp parallel for schedule(static) if (num_tokens > 31)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    for (std::int64_t head = 0; head < cache.num_kv_heads; ++head) {
      const std::int64_t from = token * stride + head * cache.head_dim;
      store(k + from, cache.head_dim, cache.dtype,
            slot_at(cache.k, cache, slot_mapping[token], head));
      store(v + from, cache.head_dim, cache.dtype,
            slot_at(cache.v, cache, slot_mapping[token], head));
    }
  }
}

void attention(const float* q, std::int64_t q_stride, std::int64_t num_heads, float scale,
               std::int64_t window, const KvCache& cache, const AttentionBatch& batch, float* out,
               InstructionSet set) {
  const AttentionKernel kernel =
      choose<AttentionKernel>(set, attend_generic, attend_avx2, attend_avx512);
  const std::int64_t row_size = num_heads * cache.head_dim;
  const std::int64_t heads_per_kv = num_heads / cache.num_kv_heads;
  const std::vector<TileAt> tiles = cut_tiles(batch, heads_per_kv);
  const auto num_tiles = static_cast<std::int64_t>(tiles.size());
  std::int64_t most_rows = 0;
  for (const TileAt& tile : tiles) most_rows = std::max(most_rows, tile.num_rows);
  // A tile takes all KV heads if there are tiles enough for the threads.
  const std::int64_t heads =
      omp_get_max_threads() == 1 || num_tiles >= 4 * omp_get_max_threads() ? cache.num_kv_heads : 1;
  const std::int64_t scratch_size = heads * attention_scratch(most_rows, cache.head_dim);
#pragma omp parallel if (work_of(batch, row_size) > kSmallWork)
  {
    const auto scratch =
        std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(scratch_size));
#pragma omp for collapse(2) schedule(dynamic)
    for (std::int64_t at = 0; at < num_tiles; ++at) {
      for (std::int64_t kv_head = 0; kv_head < cache.num_kv_heads; kv_head += heads) {
        const TileAt& tile = tiles[static_cast<std::size_t>(at)];
        const std::int64_t token = batch.q_begin[tile.seq];
        const std::int64_t column = kv_head * heads_per_kv * cache.head_dim;
        kernel({.q = q + token * q_stride + column,
                .q_stride = q_stride,
                .out = out + token * row_size + column,
                .out_stride = row_size,
                .cache = &cache,
                .blocks = batch.block_table + tile.seq * batch.max_blocks,
                .kv_head = kv_head,
                .num_kv_heads = heads,
                .heads_per_kv = heads_per_kv,
                .first_position = batch.first_position[tile.seq],
                .first_row = tile.first_row,
                .num_rows = tile.num_rows,
                .window = window,
                .scale = scale},
               scratch.get());
      }
    }
  }
}

}  // namespace trireme::kernels::cpu
