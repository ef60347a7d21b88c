#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "kernels/cuda/detail/product_form.h"
#include "kernels/gemm.h"

namespace trireme::kernels::cuda {

/// What the best kernel of a product depends on.
struct ProductKey {
  std::int64_t bucket = 0, n = 0, k = 0;  ///< bucket: of M
  DType dtype = DType::bfloat16, y_dtype = DType::bfloat16;
  bool is_aligned = false;        ///< whether all rows begin at multiples of 16 bytes
  bool has_silu_and_mul = false;  ///< gate_up is given

  auto operator<=>(const ProductKey&) const = default;
};
ProductKey product_key(const Gemm::Operands& operands);

/// An own kernel, or without one an algorithm of the library in the library's own words.
struct ProductChoice {
  ProductForm form = ProductForm::library;
  std::array<std::uint64_t, 8> algorithm{};

  bool operator==(const ProductChoice&) const = default;
};
using ProductTable = std::map<ProductKey, ProductChoice>;

/// A table as text, a line each, with the machine that it is for and a check sum.
std::string text_of(const ProductTable& table, std::string_view machine);

/// A table, or the reason why there is none.
struct ReadTable {
  ProductTable table;
  std::string reason;
};
/// Reads what text_of() has written for the same machine. Any text may come.
ReadTable table_of(std::string_view text, std::string_view machine);

/// Replaces the file at once, by renaming. Throws Error(output) or Error(io).
void write_table(const std::string& path, std::string_view text);
/// As table_of() on a file.
ReadTable read_table(const std::string& path, std::string_view machine);

}  // namespace trireme::kernels::cuda
