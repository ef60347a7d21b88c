#include "kernels/embedding.h"

#include <algorithm>

namespace trireme::kernels::cpu {
namespace {

template <typename T>
void embed(const std::int32_t* ids, std::int64_t num_tokens, const T* table,
           std::int64_t vocab_begin, std::int64_t num_rows, std::int64_t size, float* y) {
#pragma omp parallel for schedule(static) if (num_tokens * size > 32768)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const std::int64_t row = ids[token] - vocab_begin;
    float* out = y + token * size;
    if (row < 0 || row >= num_rows) {
      std::fill_n(out, size, 0.0f);
    } else {
      std::copy_n(table + row * size, size, out);
    }
  }
}

}  // namespace

void embedding(const std::int32_t* ids, std::int64_t num_tokens, const void* table, DType dtype,
               std::int64_t vocab_begin, std::int64_t num_rows, std::int64_t size, float* y) {
  if (dtype == DType::bfloat16) {
    embed(ids, num_tokens, static_cast<const bfloat16*>(table), vocab_begin, num_rows, size, y);
  } else if (dtype == DType::float16) {
    embed(ids, num_tokens, static_cast<const float16*>(table), vocab_begin, num_rows, size, y);
  } else {
    embed(ids, num_tokens, static_cast<const float*>(table), vocab_begin, num_rows, size, y);
  }
}

}  // namespace trireme::kernels::cpu
