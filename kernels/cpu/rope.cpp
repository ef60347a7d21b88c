#include "kernels/rope.h"

#include "kernels/cpu/detail/simd.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

TRIREME_INLINE void rotate(float* x, const float* cos_sin, std::int64_t half) {
  float* second = x + half;
  const float* sines = cos_sin + half;
  std::int64_t i = 0;
  for (; i + 16 <= half; i += 16) {
    const auto a = simd::load<16>(x + i), b = simd::load<16>(second + i);
    const auto cosine = simd::load<16>(cos_sin + i), sine = simd::load<16>(sines + i);
    simd::store<16>(a * cosine - b * sine, x + i);
    simd::store<16>(b * cosine + a * sine, second + i);
  }
  for (; i < half; ++i) {
    const float a = x[i], b = second[i];
    x[i] = a * cos_sin[i] - b * sines[i];
    second[i] = b * cos_sin[i] + a * sines[i];
  }
}

void rotate_generic(float* x, const float* cos_sin, std::int64_t half) { rotate(x, cos_sin, half); }
TRIREME_AVX2 void rotate_avx2(float* x, const float* cos_sin, std::int64_t half) {
  rotate(x, cos_sin, half);
}
TRIREME_AVX512 void rotate_avx512(float* x, const float* cos_sin, std::int64_t half) {
  rotate(x, cos_sin, half);
}

}  // namespace

void rope(float* x, std::int64_t x_stride, const std::int32_t* positions, const float* cos_sin,
          std::int64_t num_tokens, std::int64_t num_heads, std::int64_t head_dim,
          std::int64_t rotary_dim, InstructionSet set) {
  const auto kernel = choose(set, rotate_generic, rotate_avx2, rotate_avx512);
#pragma omp parallel for schedule(static) if (num_tokens * num_heads * rotary_dim > kSmallWork)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const float* row = cos_sin + positions[token] * rotary_dim;
    for (std::int64_t head = 0; head < num_heads; ++head) {
      kernel(x + token * x_stride + head * head_dim, row, rotary_dim / 2);
    }
  }
}

}  // namespace trireme::kernels::cpu
