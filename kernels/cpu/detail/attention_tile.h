#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace trireme::kernels::cpu {

/// Query rows of one sequence against some KV heads: row r is the head r % heads_per_kv of those
/// that read a KV head, of token r / heads_per_kv.
struct AttentionTile {
  const float* q = nullptr;  ///< of row 0 of kv_head; tokens apart by q_stride
  std::int64_t q_stride = 0;
  float* out = nullptr;  ///< of row 0 of kv_head; tokens apart by out_stride
  std::int64_t out_stride = 0;
  const KvCache* cache = nullptr;
  const std::int32_t* blocks = nullptr;  ///< the sequence's
  std::int64_t kv_head = 0, num_kv_heads = 1, heads_per_kv = 1;
  std::int64_t first_position = 0;  ///< of row 0
  std::int64_t first_row = 0, num_rows = 0;
  std::int64_t window = 0;
  float scale = 1;

  std::int64_t position_of(std::int64_t row) const {
    return first_position + (first_row + row) / heads_per_kv;
  }
  AttentionTile of_head(std::int64_t head) const {
    AttentionTile one = *this;
    one.q += head * heads_per_kv * cache->head_dim;
    one.out += head * heads_per_kv * cache->head_dim;
    one.kv_head += head;
    one.num_kv_heads = 1;
    return one;
  }
};
inline constexpr std::int64_t kMostRowsOfTile = 96;

/// Floats of scratch memory that a tile of so many rows needs for each of its KV heads.
std::int64_t attention_scratch(std::int64_t num_rows, std::int64_t head_dim);

using AttentionKernel = void (*)(const AttentionTile& tile, float* scratch);
void attend_generic(const AttentionTile& tile, float* scratch);
void attend_avx2(const AttentionTile& tile, float* scratch);
void attend_avx512(const AttentionTile& tile, float* scratch);

/// Stores a row of keys or values in the cache's type.
using StoreKernel = void (*)(const float* from, std::int64_t size, DType dtype, void* to);
void store_row_generic(const float* from, std::int64_t size, DType dtype, void* to);
void store_row_avx2(const float* from, std::int64_t size, DType dtype, void* to);
void store_row_avx512(const float* from, std::int64_t size, DType dtype, void* to);

}  // namespace trireme::kernels::cpu
