#include "kernels/embedding.h"

#include <algorithm>

#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

void widen_row(const void* table, std::int64_t row, DType dtype, std::int64_t size, float* to) {
  if (dtype == DType::bfloat16) {
    std::copy_n(static_cast<const bfloat16*>(table) + row * size, size, to);
  } else if (dtype == DType::float16) {
    std::copy_n(static_cast<const float16*>(table) + row * size, size, to);
  } else {
    std::copy_n(static_cast<const float*>(table) + row * size, size, to);
  }
}

}  // namespace

void embedding(const std::int32_t* ids, std::int64_t num_tokens, const void* table, DType dtype,
               std::int64_t vocab_begin, std::int64_t num_rows, std::int64_t size, float* y) {
#pragma omp parallel for schedule(static) if (num_tokens * size > kSmallWork)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const std::int64_t row = ids[token] - vocab_begin;
    if (row < 0 || row >= num_rows) {
      std::fill_n(y + token * size, size, 0.0f);
    } else {
      widen_row(table, row, dtype, size, y + token * size);
    }
  }
}

}  // namespace trireme::kernels::cpu
