#pragma once

#include <cstdint>

#include "kernels/cuda/detail/product_form.h"
#include "kernels/gemm.h"

namespace trireme::kernels::cuda {

/// Own kernels for products of few rows, which read the weights once and as fast as memory gives
/// them.
inline constexpr std::int64_t kMostSmallRows = 16;

/// Whether a form takes these operands: dot one row, the others up to kMostSmallRows, of bfloat16
/// or float16, K a multiple of 8, rows of x and the weight aligned to 16 bytes, no bias together
/// with gate_up.
bool takes_small_product(const Gemm::Operands& operands, ProductForm form);

/// The form for a product that nobody has timed.
ProductForm likely_small_form(const Gemm::Operands& operands);

/// The whole product with bias; operands that the form takes. The weight is read while the kernels
/// before in the stream still run: none of them may write it.
void small_product(const Gemm::Operands& operands, ProductForm form, Stream stream);
/// Its form dot.
void small_product_dot(const Gemm::Operands& operands, Stream stream);

}  // namespace trireme::kernels::cuda
