#include "kernels/activation.h"

#include <cmath>

namespace trireme::kernels::cpu {

void silu_and_mul(const float* gate_up, float* y, std::int64_t num_rows, std::int64_t size) {
#pragma omp parallel for schedule(static) if (num_rows * size > 32768)
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const float* gate = gate_up + row * 2 * size;
    const float* up = gate + size;
    for (std::int64_t i = 0; i < size; ++i) {
      y[row * size + i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
    }
  }
}

}  // namespace trireme::kernels::cpu
