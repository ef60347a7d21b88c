#pragma once

#include "kernels/gemm.h"

namespace trireme::kernels::cuda {

/// Hopper's kernel for many rows, and whether it takes a product: bfloat16 or float16, rows of x,
/// weight and y that begin at multiples of 16 bytes, no bias. A row's bits do not depend on the
/// other rows.
bool takes_large_product(const Gemm::Operands& operands);
void large_product(const Gemm::Operands& operands, Stream stream);

}  // namespace trireme::kernels::cuda
