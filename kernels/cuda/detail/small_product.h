#pragma once

#include <array>
#include <cstdint>

#include "kernels/gemm.h"

namespace trireme::kernels::cuda {

/// Own kernels for products of few rows, which read the weights once and as fast as memory gives
/// them. `dot`: a warp computes two columns of one row. The others: a cta streams tiles of 8, 16 or
/// 32 weight rows to the tensor cores; these three give the same bits, a row's whatever M is.
enum class SmallForm : std::uint8_t { none, dot, rows_8, rows_16, rows_32 };
inline constexpr std::array kSmallForms = {SmallForm::dot, SmallForm::rows_8, SmallForm::rows_16,
                                           SmallForm::rows_32};
inline constexpr std::int64_t kMostSmallRows = 16;

/// Whether a form takes these operands: dot one row, the others up to kMostSmallRows, of bfloat16
/// or float16, K a multiple of 8, rows of x and the weight aligned to 16 bytes.
bool takes_small_product(const Gemm::Operands& operands, SmallForm form);

/// The form for a product that nobody has timed; none: the library's.
SmallForm likely_small_form(const Gemm::Operands& operands);

/// The whole product with bias; operands that the form takes. The weight is read while the kernels
/// before in the stream still run: none of them may write it.
void small_product(const Gemm::Operands& operands, SmallForm form, Stream stream);
/// Its form dot.
void small_product_dot(const Gemm::Operands& operands, Stream stream);

}  // namespace trireme::kernels::cuda
