#include <cstring>

#include "kernels/cpu/detail/attention_tile.h"
#include "kernels/cpu/detail/simd.h"

namespace trireme::kernels::cpu {
namespace {

template <int lanes>
TRIREME_INLINE void store_row(const float* from, std::int64_t size, DType dtype, void* to) {
  if (dtype == DType::float32) {
    std::memcpy(to, from, static_cast<std::size_t>(size) * sizeof(float));
    return;
  }
  if (dtype == DType::float16) {
    auto* halves = static_cast<float16*>(to);
    for (std::int64_t i = 0; i < size; ++i) halves[i] = float16(from[i]);
    return;
  }
  auto* halves = static_cast<bfloat16*>(to);
  std::int64_t i = 0;
  for (; i + lanes <= size; i += lanes) simd::store<lanes>(simd::load<lanes>(from + i), halves + i);
  for (; i < size; ++i) halves[i] = bfloat16(from[i]);
}

}  // namespace

void store_row_generic(const float* from, std::int64_t size, DType dtype, void* to) {
  store_row<4>(from, size, dtype, to);
}
TRIREME_AVX2 void store_row_avx2(const float* from, std::int64_t size, DType dtype, void* to) {
  store_row<8>(from, size, dtype, to);
}
TRIREME_AVX512 void store_row_avx512(const float* from, std::int64_t size, DType dtype, void* to) {
  store_row<16>(from, size, dtype, to);
}

}  // namespace trireme::kernels::cpu
