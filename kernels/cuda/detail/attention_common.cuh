#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"

/// What the attention kernels share. Rows: the query heads of one KV head, of all tokens of a
/// sequence; row r is head r mod g of token r / g, with g = num_heads / num_kv_heads.
namespace trireme::kernels::cuda {

void attention_prefill(const Attention& a, Stream stream);
/// Hopper's kernel for long chunks, in which loading, products and softmax overlap, and whether it
/// takes a call.
void attention_prefill_pipelined(const Attention& a, Stream stream);
bool can_pipeline_prefill(const Attention& a);
void attention_decode(const Attention& a, Stream stream);
void attention_plain(const Attention& a, Stream stream);

/// ctas that a decode is cut into at most, and what each may leave behind for the last one.
std::int64_t most_split_ctas();
inline constexpr int kRowsOfDecodeTile = 16;
/// Where the workspace has two counters for a prefill, in bytes.
std::size_t prefill_counters_offset(std::int64_t head_dim);

/// One sequence's keys and values of one KV head.
struct PagedRows {
  const std::int32_t* blocks;
  int shift;  ///< tokens_per_block = 1 << shift
  std::int64_t block_stride, head_offset;
  int head_dim;

  /// Element offset of a key's row, or -1 if its block has been freed.
  __device__ std::int64_t offset(int key) const {
    const int block = blocks[key >> shift];
    if (block < 0) return -1;
    return block * block_stride + head_offset +
           static_cast<std::int64_t>(key & ((1 << shift) - 1)) * head_dim;
  }
};

/// The blocks of a sequence.
__device__ inline const std::int32_t* blocks_of(const AttentionBatch& batch, std::int64_t seq) {
  const std::int64_t row = batch.table_row == nullptr ? seq : batch.table_row[seq];
  return batch.block_table + row * batch.max_blocks;
}

__device__ inline PagedRows paged_rows(const Attention& a, std::int64_t seq, std::int64_t kv_head) {
  const KvCache& cache = a.cache;
  const std::int64_t row_of_block = cache.tokens_per_block * cache.head_dim;
  return {blocks_of(a.batch, seq),
          31 - __clz(static_cast<int>(cache.tokens_per_block)), cache.num_kv_heads * row_of_block,
          kv_head * row_of_block, static_cast<int>(cache.head_dim)};
}

/// The first key that a query at `position` sees.
__device__ inline int first_key(const Attention& a, int position) {
  if (a.window == 0) return 0;
  return max(0, position + 1 - static_cast<int>(a.window));
}

}  // namespace trireme::kernels::cuda
