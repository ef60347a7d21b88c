#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"
#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {

/// y = x / sqrt(mean(x²) + eps) · weight over each row's `size` elements.
///   x, y    [num_rows, size] float32, rows apart by the strides; y may be x
///   weight  [size] float32
void rms_norm(const float* x, std::int64_t x_stride, const float* weight, float eps, float* y,
              std::int64_t y_stride, std::int64_t num_rows, std::int64_t size, InstructionSet set);

/// rms_norm of each head in place.
///   x       [num_rows, num_heads, head_dim] float32, rows apart by the stride
///   weight  [head_dim] float32
void rms_norm_heads(float* x, std::int64_t x_stride, const float* weight, float eps,
                    std::int64_t num_rows, std::int64_t num_heads, std::int64_t head_dim,
                    InstructionSet set);

/// Σ x² of each row in float32, for a norm whose rows are spread over ranks (OLMoE under TP).
///   sums  [num_rows] float32
void sum_of_squares(const float* x, std::int64_t x_stride, float* sums, std::int64_t num_rows,
                    std::int64_t size, InstructionSet set);

/// rms_norm with the sums given: y = x / sqrt(sums[row] / total_size + eps) · weight.
void scale_by_norm(const float* x, std::int64_t x_stride, const float* sums,
                   std::int64_t total_size, const float* weight, float eps, float* y,
                   std::int64_t y_stride, std::int64_t num_rows, std::int64_t size,
                   InstructionSet set);

/// x += y, `size` elements.
void add(const float* y, float* x, std::int64_t size);

}  // namespace trireme::kernels::cpu

/// As in cpu, on x and y of dtype; weights and sums stay float32, and so does all arithmetic.
namespace trireme::kernels::cuda {

void rms_norm(const void* x, std::int64_t x_stride, const float* weight, float eps, void* y,
              std::int64_t y_stride, std::int64_t num_rows, std::int64_t size, DType dtype,
              Stream stream);

/// residual += x, then y = rms_norm(residual), of the sum before it is rounded to dtype.
///   x, residual, y  [num_rows, size] contiguous; y may be x
void add_rms_norm(const void* x, void* residual, const float* weight, float eps, void* y,
                  std::int64_t num_rows, std::int64_t size, DType dtype, Stream stream);

void rms_norm_heads(void* x, std::int64_t x_stride, const float* weight, float eps,
                    std::int64_t num_rows, std::int64_t num_heads, std::int64_t head_dim,
                    DType dtype, Stream stream);

void sum_of_squares(const void* x, std::int64_t x_stride, float* sums, std::int64_t num_rows,
                    std::int64_t size, DType dtype, Stream stream);

void scale_by_norm(const void* x, std::int64_t x_stride, const float* sums, std::int64_t total_size,
                   const float* weight, float eps, void* y, std::int64_t y_stride,
                   std::int64_t num_rows, std::int64_t size, DType dtype, Stream stream);

void add(const void* y, void* x, std::int64_t size, DType dtype, Stream stream);

/// x += bias in every row, for products that know no bias.
///   x     [num_rows, size] of dtype, rows apart by the stride
///   bias  [size] float32
void add_bias(const float* bias, void* x, std::int64_t x_stride, std::int64_t num_rows,
              std::int64_t size, DType dtype, Stream stream);

}  // namespace trireme::kernels::cuda
