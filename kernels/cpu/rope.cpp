#include "kernels/rope.h"

namespace trireme::kernels::cpu {

void rope(float* x, std::int64_t x_stride, const std::int32_t* positions, const float* cos_sin,
          std::int64_t num_tokens, std::int64_t num_heads, std::int64_t head_dim,
          std::int64_t rotary_dim) {
  const std::int64_t half = rotary_dim / 2;
#pragma omp parallel for schedule(static) if (num_tokens * num_heads * rotary_dim > 32768)
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const float* cosines = cos_sin + positions[token] * rotary_dim;
    const float* sines = cosines + half;
    for (std::int64_t head = 0; head < num_heads; ++head) {
      float* first = x + token * x_stride + head * head_dim;
      float* second = first + half;
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = first[i], b = second[i];
        first[i] = a * cosines[i] - b * sines[i];
        second[i] = b * cosines[i] + a * sines[i];
      }
    }
  }
}

}  // namespace trireme::kernels::cpu
