#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"
#include "kernels/instruction_set.h"

namespace trireme::kernels {

/// One layer's part of a KV pool. Both caches [num_blocks, num_kv_heads, tokens_per_block,
/// head_dim].
struct KvCache {
  void* k = nullptr;
  void* v = nullptr;
  DType dtype = DType::float32;
  std::int64_t num_blocks = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t tokens_per_block = 0;
  std::int64_t head_dim = 0;
};

/// The sequences of a step as attention sees them. Tokens of sequence s are rows
/// [q_begin[s], q_begin[s + 1]) and stand at positions first_position[s], first_position[s] + 1,
/// ...
struct AttentionBatch {
  std::int64_t num_seqs = 0;
  const std::int32_t* q_begin = nullptr;         ///< [num_seqs + 1]
  const std::int32_t* first_position = nullptr;  ///< [num_seqs]
  const std::int32_t* block_table = nullptr;  ///< [num_seqs, max_blocks]; -1 = freed, out of sight
  std::int64_t max_blocks = 0;
  /// On a GPU: sequence s has row table_row[s] of the block table; null: row s.
  const std::int32_t* table_row = nullptr;
  /// The first num_decodes sequences have at most one token each (none: padding), and may take a
  /// kernel that is made for that; the others may have any number.
  std::int64_t num_decodes = 0;
};

namespace cpu {

/// Stores keys and values of new tokens. slot_mapping[t] = block · tokens_per_block + offset.
///   k, v  [num_tokens, num_kv_heads, head_dim] float32, tokens apart by the stride
void append_kv(const float* k, const float* v, std::int64_t stride,
               const std::int64_t* slot_mapping, std::int64_t num_tokens, const KvCache& cache,
               InstructionSet set);

/// Causal attention over the paged cache, softmax(q·k · scale)·v in float32; a token sees itself,
/// all before it, and with window > 0 only the last `window` of them (itself included).
///   q    [num_tokens, num_heads, head_dim] float32, tokens apart by q_stride
///   out  [num_tokens, num_heads · head_dim] float32, contiguous
/// num_heads is a multiple of the cache's num_kv_heads; head h reads KV head h / (quotient).
/// A sequence's result does not depend on the other sequences or on how its tokens are cut in
/// chunks, except by rounding.
void attention(const float* q, std::int64_t q_stride, std::int64_t num_heads, float scale,
               std::int64_t window, const KvCache& cache, const AttentionBatch& batch, float* out,
               InstructionSet set);

}  // namespace cpu

namespace cuda {

/// As cpu::append_kv, on k and v of the cache's dtype; slots of -1 (padding) are not stored.
void append_kv(const void* k, const void* v, std::int64_t stride, const std::int64_t* slot_mapping,
               std::int64_t num_tokens, const KvCache& cache, Stream stream);

/// Everything that attention reads and writes. All arrays of the batch are device memory.
struct Attention {
  const void* q = nullptr;  ///< [num_tokens, num_heads, head_dim] of cache.dtype
  std::int64_t q_stride = 0;
  std::int64_t num_heads = 0;
  float scale = 0;
  std::int64_t window = 0;
  KvCache cache;
  AttentionBatch batch;
  std::int64_t num_tokens = 0;  ///< rows of q, at least batch.q_begin[num_seqs]
  void* out = nullptr;          ///< [num_tokens, num_heads · head_dim], contiguous
  /// attention_workspace_bytes of memory, zero at first; each call leaves it ready for the next.
  void* workspace = nullptr;
  /// One kernel for decodes and chunks alike, so that a row has the same bits in any company and
  /// however its sequence is cut in chunks. With batch.num_decodes 0.
  bool is_invariant = false;
};

/// As cpu::attention. Tensor cores do bfloat16 and float16 of head_dim 64, 128 and 256; a plain
/// kernel everything else up to head_dim 256. The launches depend on nothing but the arguments
/// here, so they can be captured in a graph and replayed with other contents of the batch. For
/// decodes the batch, and the keys and values before a sequence's own, are read while the kernel
/// before in the stream still runs: between what writes them and this is a product.
void attention(const Attention& arguments, Stream stream);

/// Enough for any batch on the current device.
std::size_t attention_workspace_bytes(std::int64_t head_dim);

}  // namespace cuda
}  // namespace trireme::kernels
