#include "kernels/activation.h"

#include "kernels/cpu/detail/simd_math.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

using simd::Floats;

TRIREME_INLINE Floats<16> silu_and_mul(Floats<16> gate, Floats<16> up) {
  return gate / (1.0f + simd::exp<16>(-gate)) * up;
}

TRIREME_INLINE void silu_row(const float* gate, const float* up, float* y, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + 16 <= size; i += 16) {
    simd::store<16>(silu_and_mul(simd::load<16>(gate + i), simd::load<16>(up + i)), y + i);
  }
  if (i < size) {
    const Floats<16> result = silu_and_mul(simd::load_part<16>(gate + i, size - i),
                                           simd::load_part<16>(up + i, size - i));
    simd::store_part<16>(result, y + i, size - i);
  }
}

void silu_generic(const float* gate, const float* up, float* y, std::int64_t size) {
  silu_row(gate, up, y, size);
}
TRIREME_AVX2 void silu_avx2(const float* gate, const float* up, float* y, std::int64_t size) {
  silu_row(gate, up, y, size);
}
TRIREME_AVX512 void silu_avx512(const float* gate, const float* up, float* y, std::int64_t size) {
  silu_row(gate, up, y, size);
}

}  // namespace

void silu_and_mul(const float* gate_up, float* y, std::int64_t num_rows, std::int64_t size,
                  InstructionSet set) {
  const auto kernel = choose(set, silu_generic, silu_avx2, silu_avx512);
#pragma omp parallel for schedule(static) if (num_rows * size > kSmallWork)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const float* gate = gate_up + row * 2 * size;
    kernel(gate, gate + size, y + row * size, size);
  }
}

}  // namespace trireme::kernels::cpu
