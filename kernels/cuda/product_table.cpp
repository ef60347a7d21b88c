#include "kernels/cuda/detail/product_table.h"

#include <charconv>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/mix.h"

namespace trireme::kernels::cuda {
namespace {

/// Grows when a form computes otherwise than before, so that older files are left alone.
constexpr std::string_view kHeader = "trireme products 2";
constexpr std::size_t kMostLines = 20000;
constexpr std::int64_t kMostExtent = std::int64_t{1} << 40;
constexpr std::size_t kHexDigits = 16;
constexpr std::array<std::string_view, 6> kFormNames = {"library", "dot",     "rows_8",
                                                        "rows_16", "rows_32", "tiles"};

std::string hex_of(std::uint64_t value) {
  std::string text(kHexDigits, '0');
  for (std::size_t i = kHexDigits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

/// The whole of a text as a number, or none.
template <typename Number>
std::optional<Number> number_of(std::string_view text, int base) {
  Number value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc{} || at != end) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<std::int64_t> extent_of(std::string_view text) {
  const auto value = number_of<std::int64_t>(text, 10);
  if (!value || *value < 1 || *value > kMostExtent) return std::nullopt;
  return value;
}

std::optional<ProductChoice> choice_of(std::string_view text) {
  ProductChoice choice;
  for (const ProductForm form : kOwnForms) {
    if (text == kFormNames[static_cast<std::size_t>(form)]) choice.form = form;
  }
  if (choice.form != ProductForm::library) return choice;
  if (text.size() != choice.algorithm.size() * kHexDigits) return std::nullopt;
  for (std::uint64_t& word : choice.algorithm) {
    const auto value = number_of<std::uint64_t>(text.substr(0, kHexDigits), 16);
    if (!value) return std::nullopt;
    word = *value;
    text.remove_prefix(kHexDigits);
  }
  return choice;
}

std::optional<bool> flag_of(std::string_view text) {
  if (text != "0" && text != "1") return std::nullopt;
  return text == "1";
}

/// "BUCKET N K DTYPE Y_DTYPE ALIGNED SILU CHOICE" into the table; false where it is anything else.
bool add_line(std::string_view line, ProductTable& table) {
  const auto fields = split(line, ' ');
  if (fields.size() != 8) return false;
  const auto bucket = extent_of(fields[0]), n = extent_of(fields[1]), k = extent_of(fields[2]);
  const auto dtype = float_dtype_from_name(fields[3]), y_dtype = float_dtype_from_name(fields[4]);
  const auto is_aligned = flag_of(fields[5]), has_silu_and_mul = flag_of(fields[6]);
  const auto choice = choice_of(fields[7]);
  constexpr std::int64_t kMostRows = std::int64_t{1} << 24;
  if (!bucket || *bucket > kMostRows || Gemm::bucket_of(*bucket) != *bucket || !n || !k || !dtype ||
      !y_dtype || !is_aligned || !has_silu_and_mul || !choice) {
    return false;
  }
  const ProductKey key{*bucket, *n, *k, *dtype, *y_dtype, *is_aligned, *has_silu_and_mul};
  return table.emplace(key, *choice).second;
}

}  // namespace

ProductKey product_key(const Gemm::Operands& o) {
  const auto aligned = [](const void* memory, std::int64_t stride, DType dtype) {
    return reinterpret_cast<std::uintptr_t>(memory) % 16 == 0 &&
           static_cast<std::size_t>(stride) * size_of(dtype) % 16 == 0;
  };
  const bool is_aligned = aligned(o.x, o.x_stride, o.dtype) && aligned(o.weight, o.k, o.dtype) &&
                          aligned(o.y, o.y_stride, o.y_dtype);
  return {Gemm::bucket_of(o.m), o.n, o.k, o.dtype, o.y_dtype, is_aligned, o.gate_up != nullptr};
}

std::string text_of(const ProductTable& table, std::string_view machine) {
  std::string text = cat(kHeader, "\nmachine ", machine, "\n");
  for (const auto& [key, choice] : table) {
    text +=
        cat(key.bucket, " ", key.n, " ", key.k, " ", name_of(key.dtype), " ", name_of(key.y_dtype),
            " ", key.is_aligned ? 1 : 0, " ", key.has_silu_and_mul ? 1 : 0, " ");
    if (choice.form != ProductForm::library) {
      text += kFormNames[static_cast<std::size_t>(choice.form)];
    } else {
      for (const std::uint64_t word : choice.algorithm) text += hex_of(word);
    }
    text += '\n';
  }
  return text + cat("end ", table.size(), " ", hex_of(key_of(std::string_view(text))), "\n");
}

ReadTable table_of(std::string_view text, std::string_view machine) {
  const auto refuse = [](const auto&... why) { return ReadTable{{}, cat(why...)}; };
  auto lines = split(text, '\n');
  // Behind the last line's end nothing follows.
  if (lines.size() < 4 || lines.size() > kMostLines || !lines.back().empty()) {
    return refuse("is no table of products, or not whole");
  }
  if (lines[0] != kHeader) return refuse("does not begin with \"", kHeader, "\"");
  if (lines[1] != cat("machine ", machine)) return refuse("is for another machine than ", machine);
  const std::string_view end = lines[lines.size() - 2];
  const std::string_view before = text.substr(0, text.size() - end.size() - 1);
  const std::size_t count = lines.size() - 4;
  if (end != cat("end ", count, " ", hex_of(key_of(before)))) {
    return refuse("is not whole, or was changed: its last line does not fit the others");
  }
  ReadTable read;
  for (std::size_t i = 2; i < count + 2; ++i) {
    if (!add_line(lines[i], read.table)) return refuse("has no product in line ", i + 1);
  }
  return read;
}

}  // namespace trireme::kernels::cuda
