#include "kernels/norm.h"

#include <cmath>

#include "kernels/cpu/detail/simd.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

using simd::Floats;

TRIREME_INLINE float row_sum(const float* x, std::int64_t size) {
  Floats<16> sums = {};
  std::int64_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const Floats<16> values = simd::load<16>(x + i);
    sums += values * values;
  }
  if (i < size) {
    const Floats<16> values = simd::load_part<16>(x + i, size - i);
    sums += values * values;
  }
  return simd::sum_lanes<16>(sums);
}

TRIREME_INLINE void row_scale(const float* x, float factor, const float* weight, float* y,
                              std::int64_t size) {
  std::int64_t i = 0;
  for (; i + 16 <= size; i += 16) {
    simd::store<16>(simd::load<16>(x + i) * factor * simd::load<16>(weight + i), y + i);
  }
  for (; i < size; ++i) y[i] = x[i] * factor * weight[i];
}

struct RowKernels {
  float (*sum_of_squares)(const float* x, std::int64_t size);
  void (*scale)(const float* x, float factor, const float* weight, float* y, std::int64_t size);
};

float sum_generic(const float* x, std::int64_t size) { return row_sum(x, size); }
TRIREME_AVX2 float sum_avx2(const float* x, std::int64_t size) { return row_sum(x, size); }
TRIREME_AVX512 float sum_avx512(const float* x, std::int64_t size) { return row_sum(x, size); }
void scale_generic(const float* x, float factor, const float* weight, float* y, std::int64_t size) {
  row_scale(x, factor, weight, y, size);
}
TRIREME_AVX2 void scale_avx2(const float* x, float factor, const float* weight, float* y,
                             std::int64_t size) {
  row_scale(x, factor, weight, y, size);
}
TRIREME_AVX512 void scale_avx512(const float* x, float factor, const float* weight, float* y,
                                 std::int64_t size) {
  row_scale(x, factor, weight, y, size);
}

RowKernels row_kernels(InstructionSet set) {
  return choose<RowKernels>(set, {sum_generic, scale_generic}, {sum_avx2, scale_avx2},
                            {sum_avx512, scale_avx512});
}

float factor_of(float sum, std::int64_t size, float eps) {
  return 1.0f / std::sqrt(sum / static_cast<float>(size) + eps);
}

}  // namespace

void rms_norm(const float* x, std::int64_t x_stride, const float* weight, float eps, float* y,
              std::int64_t y_stride, std::int64_t num_rows, std::int64_t size, InstructionSet set) {
  const RowKernels kernels = row_kernels(set);
#pragma omp parallel for schedule(static) if (num_rows * size > kSmallWork)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const float* in = x + row * x_stride;
    const float factor = factor_of(kernels.sum_of_squares(in, size), size, eps);
    kernels.scale(in, factor, weight, y + row * y_stride, size);
  }
}

void rms_norm_heads(float* x, std::int64_t x_stride, const float* weight, float eps,
                    std::int64_t num_rows, std::int64_t num_heads, std::int64_t head_dim,
                    InstructionSet set) {
  const RowKernels kernels = row_kernels(set);
#pragma omp parallel for schedule(static) if (num_rows * num_heads * head_dim > kSmallWork)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    for (std::int64_t head = 0; head < num_heads; ++head) {
      float* at = x + row * x_stride + head * head_dim;
      const float factor = factor_of(kernels.sum_of_squares(at, head_dim), head_dim, eps);
      kernels.scale(at, factor, weight, at, head_dim);
    }
  }
}

void sum_of_squares(const float* x, std::int64_t x_stride, float* sums, std::int64_t num_rows,
                    std::int64_t size, InstructionSet set) {
  const RowKernels kernels = row_kernels(set);
#pragma omp parallel for schedule(static) if (num_rows * size > kSmallWork)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    sums[row] = kernels.sum_of_squares(x + row * x_stride, size);
  }
}

void scale_by_norm(const float* x, std::int64_t x_stride, const float* sums,
                   std::int64_t total_size, const float* weight, float eps, float* y,
                   std::int64_t y_stride, std::int64_t num_rows, std::int64_t size,
                   InstructionSet set) {
  const RowKernels kernels = row_kernels(set);
#pragma omp parallel for schedule(static) if (num_rows * size > kSmallWork)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const float factor = factor_of(sums[row], total_size, eps);
    kernels.scale(x + row * x_stride, factor, weight, y + row * y_stride, size);
  }
}

void add(const float* y, float* x, std::int64_t size) {
#pragma omp parallel for simd schedule(static) if (parallel : size > kSmallWork)
  for (std::int64_t i = 0; i < size; ++i) x[i] += y[i];
}

}  // namespace trireme::kernels::cpu
