#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace trireme::kernels::cpu {
namespace {

template <typename T>
void append(const float* k, const float* v, std::int64_t stride, const std::int64_t* slot_mapping,
            std::int64_t num_tokens, const KvCache& cache) {
  const std::int64_t block_size = cache.tokens_per_block;
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const std::int64_t block = slot_mapping[token] / block_size;
    const std::int64_t offset = slot_mapping[token] % block_size;
    for (std::int64_t head = 0; head < cache.num_kv_heads; ++head) {
      const std::int64_t to =
          ((block * cache.num_kv_heads + head) * block_size + offset) * cache.head_dim;
      const std::int64_t from = token * stride + head * cache.head_dim;
      for (std::int64_t i = 0; i < cache.head_dim; ++i) {
        static_cast<T*>(cache.k)[to + i] = T(k[from + i]);
        static_cast<T*>(cache.v)[to + i] = T(v[from + i]);
      }
    }
  }
}

template <typename T>
void attend(const float* q, std::int64_t kv_head, float scale, std::int64_t first,
            std::int64_t position, const KvCache& cache, const std::int32_t* blocks, float* out) {
  const std::int64_t block_size = cache.tokens_per_block, size = cache.head_dim;
  float largest = -std::numeric_limits<float>::infinity(), sum = 0;
  std::fill_n(out, size, 0.0f);
  for (std::int64_t at = first; at <= position; ++at) {
    const std::int64_t block = blocks[at / block_size];
    if (block < 0) continue;
    const std::int64_t from =
        ((block * cache.num_kv_heads + kv_head) * block_size + at % block_size) * size;
    const T* key = static_cast<const T*>(cache.k) + from;
    const T* value = static_cast<const T*>(cache.v) + from;
    float score = 0;
    for (std::int64_t i = 0; i < size; ++i) score += q[i] * static_cast<float>(key[i]);
    score *= scale;
    const float shrink = score > largest ? std::exp(largest - score) : 1.0f;
    largest = std::max(largest, score);
    const float weight = std::exp(score - largest);
    sum = sum * shrink + weight;
    for (std::int64_t i = 0; i < size; ++i) {
      out[i] = out[i] * shrink + weight * static_cast<float>(value[i]);
    }
  }
  for (std::int64_t i = 0; i < size; ++i) out[i] /= sum;
}

template <typename T>
void attention_of(const float* q, std::int64_t q_stride, std::int64_t num_heads, float scale,
                  std::int64_t window, const KvCache& cache, const AttentionBatch& batch,
                  float* out) {
  const std::int64_t heads_per_kv = num_heads / cache.num_kv_heads;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (std::int64_t seq = 0; seq < batch.num_seqs; ++seq) {
    for (std::int64_t head = 0; head < num_heads; ++head) {
      for (std::int64_t token = batch.q_begin[seq]; token < batch.q_begin[seq + 1]; ++token) {
        const std::int64_t position = batch.first_position[seq] + token - batch.q_begin[seq];
        const std::int64_t first =
            window > 0 ? std::max<std::int64_t>(0, position - window + 1) : 0;
        attend<T>(q + token * q_stride + head * cache.head_dim, head / heads_per_kv, scale, first,
                  position, cache, batch.block_table + seq * batch.max_blocks,
                  out + (token * num_heads + head) * cache.head_dim);
      }
    }
  }
}

}  // namespace

void append_kv(const float* k, const float* v, std::int64_t stride,
               const std::int64_t* slot_mapping, std::int64_t num_tokens, const KvCache& cache) {
  if (cache.dtype == DType::bfloat16) {
    append<bfloat16>(k, v, stride, slot_mapping, num_tokens, cache);
  } else if (cache.dtype == DType::float16) {
    append<float16>(k, v, stride, slot_mapping, num_tokens, cache);
  } else {
    append<float>(k, v, stride, slot_mapping, num_tokens, cache);
  }
}

void attention(const float* q, std::int64_t q_stride, std::int64_t num_heads, float scale,
               std::int64_t window, const KvCache& cache, const AttentionBatch& batch, float* out) {
  if (cache.dtype == DType::bfloat16) {
    attention_of<bfloat16>(q, q_stride, num_heads, scale, window, cache, batch, out);
  } else if (cache.dtype == DType::float16) {
    attention_of<float16>(q, q_stride, num_heads, scale, window, cache, batch, out);
  } else {
    attention_of<float>(q, q_stride, num_heads, scale, window, cache, batch, out);
  }
}

}  // namespace trireme::kernels::cpu
