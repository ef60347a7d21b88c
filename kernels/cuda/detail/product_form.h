#pragma once

#include <array>
#include <cstdint>

namespace trireme::kernels::cuda {

/// What computes a product. `dot`: a warp computes two columns of one row. `rows_8` to `rows_32`: a
/// cta streams tiles of so many weight rows to the tensor cores, for few rows of x. `tiles`:
/// Hopper's kernel for many rows. The last four give a row the same bits whatever M is, the middle
/// three each other's.
enum class ProductForm : std::uint8_t { library, dot, rows_8, rows_16, rows_32, tiles };
inline constexpr std::array kSmallForms = {ProductForm::dot, ProductForm::rows_8,
                                           ProductForm::rows_16, ProductForm::rows_32};
inline constexpr std::array kOwnForms = {ProductForm::dot, ProductForm::rows_8,
                                         ProductForm::rows_16, ProductForm::rows_32,
                                         ProductForm::tiles};

}  // namespace trireme::kernels::cuda
