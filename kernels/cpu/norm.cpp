#include "kernels/norm.h"

#include <cmath>

namespace trireme::kernels::cpu {
namespace {

float sum_of_squares(const float* x, std::int64_t size) {
  float sum = 0;
  for (std::int64_t i = 0; i < size; ++i) sum += x[i] * x[i];
  return sum;
}

void scale(const float* x, float factor, const float* weight, float* y, std::int64_t size) {
  for (std::int64_t i = 0; i < size; ++i) y[i] = x[i] * factor * weight[i];
}

}  // namespace

void rms_norm(const float* x, std::int64_t x_stride, const float* weight, float eps, float* y,
              std::int64_t y_stride, std::int64_t num_rows, std::int64_t size) {
#pragma omp parallel for schedule(static) if (num_rows * size > 32768)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const float* in = x + row * x_stride;
    const float mean = sum_of_squares(in, size) / static_cast<float>(size);
    scale(in, 1.0f / std::sqrt(mean + eps), weight, y + row * y_stride, size);
  }
}

void rms_norm_heads(float* x, std::int64_t x_stride, const float* weight, float eps,
                    std::int64_t num_rows, std::int64_t num_heads, std::int64_t head_dim) {
#pragma omp parallel for schedule(static) if (num_rows * num_heads * head_dim > 32768)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    for (std::int64_t head = 0; head < num_heads; ++head) {
      float* at = x + row * x_stride + head * head_dim;
      const float mean = sum_of_squares(at, head_dim) / static_cast<float>(head_dim);
      scale(at, 1.0f / std::sqrt(mean + eps), weight, at, head_dim);
    }
  }
}

void sum_of_squares(const float* x, std::int64_t x_stride, float* sums, std::int64_t num_rows,
                    std::int64_t size) {
#pragma omp parallel for schedule(static) if (num_rows * size > 32768)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    sums[row] = sum_of_squares(x + row * x_stride, size);
  }
}

void scale_by_norm(const float* x, std::int64_t x_stride, const float* sums,
                   std::int64_t total_size, const float* weight, float eps, float* y,
                   std::int64_t y_stride, std::int64_t num_rows, std::int64_t size) {
#pragma omp parallel for schedule(static) if (num_rows * size > 32768)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const float mean = sums[row] / static_cast<float>(total_size);
    scale(x + row * x_stride, 1.0f / std::sqrt(mean + eps), weight, y + row * y_stride, size);
  }
}

void add(const float* y, float* x, std::int64_t size) {
#pragma omp parallel for simd schedule(static) if (parallel : size > 65536)
  for (std::int64_t i = 0; i < size; ++i) x[i] += y[i];
}

}  // namespace trireme::kernels::cpu
