#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"
#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {

/// SwiGLU: y = silu(gate) · up.
///   gate_up  [num_rows, 2 · size] float32: the gates, then the ups
///   y        [num_rows, size] float32
void silu_and_mul(const float* gate_up, float* y, std::int64_t num_rows, std::int64_t size,
                  InstructionSet set);

}  // namespace trireme::kernels::cpu

namespace trireme::kernels::cuda {

/// As cpu::silu_and_mul, on gate_up and y of dtype.
void silu_and_mul(const void* gate_up, void* y, std::int64_t num_rows, std::int64_t size,
                  DType dtype, Stream stream);

}  // namespace trireme::kernels::cuda
