#include <algorithm>

#include "device_data.h"
#include "kernels/activation.h"
#include "kernels/moe.h"
#include "moe_data.h"

namespace trireme::kernels {
namespace {

const auto kSet = cpu::InstructionSet::generic;

struct ProductShape {
  std::int64_t num_tokens, top_k, num_slots, n, k;
};
const std::vector<ProductShape> kProducts = {
    {1, 8, 16, 256, 512}, {50, 4, 16, 384, 136}, {300, 4, 16, 96, 200}, {700, 4, 8, 320, 72},
    {9, 2, 5, 64, 30},    {1, 1, 1, 1536, 2048}, {130, 2, 3, 32, 1024}, {8, 8, 128, 96, 200},
    {8, 8, 16, 160, 768}, {4, 8, 1000, 32, 8},   {2, 8, 128, 1536, 64},
};

TEST(CudaGroupedProduct, IsTheProductOfEachExpert) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const ProductShape& s : kProducts) {
      for (const bool has_silu : {false, true}) {
        const std::int64_t num_pairs = s.num_tokens * s.top_k;
        const std::vector<std::int32_t> slots = random_slots(num_pairs, s.num_slots, true);
        std::vector<std::int32_t> begin(static_cast<std::size_t>(s.num_slots) + 1),
            pair_at(slots.size()), place(slots.size());
        const std::int64_t num_placed = cpu::sort_by_expert(
            slots.data(), num_pairs, s.num_slots, begin.data(), pair_at.data(), place.data());
        const TypedValues x = to_dtype(random_floats(s.num_tokens * s.k, 1), dtype);
        const float scale = 1.0f / std::sqrt(static_cast<float>(s.k));
        const TypedValues w = to_dtype(random_floats(s.num_slots * s.n * s.k, 2, scale), dtype);
        const std::int64_t y_size = has_silu ? s.n / 2 : s.n;
        std::vector<float> product(static_cast<std::size_t>(num_placed * s.n));
        for (std::int64_t slot = 0; slot < s.num_slots; ++slot) {
          for (std::int64_t i = begin[slot]; i < begin[slot + 1]; ++i) {
            for (std::int64_t j = 0; j < s.n; ++j) {
              double sum = 0;
              const float* row = x.floats.data() + pair_at[i] / s.top_k * s.k;
              const float* weight = w.floats.data() + (slot * s.n + j) * s.k;
              for (std::int64_t at = 0; at < s.k; ++at) sum += row[at] * weight[at];
              product[i * s.n + j] = static_cast<float>(sum);
            }
          }
        }
        std::vector<float> expected = product;
        if (has_silu) {
          expected.resize(static_cast<std::size_t>(num_placed * y_size));
          cpu::silu_and_mul(product.data(), expected.data(), num_placed, y_size, kSet);
        }
        const Bytes x_there = upload(x), w_there = upload(w),
                    y = room_for(num_pairs * y_size, dtype);
        const OnDevice<std::int32_t> begin_there(begin), pair_at_there(pair_at);

        cuda::grouped_product({.x = x_there.data(),
                               .x_stride = s.k,
                               .pair_at = pair_at_there.data(),
                               .top_k = s.top_k,
                               .weight = w_there.data(),
                               .expert_begin = begin_there.data(),
                               .num_slots = s.num_slots,
                               .num_places = num_pairs,
                               .y = y.data(),
                               .n = s.n,
                               .k = s.k,
                               .dtype = dtype,
                               .has_silu_and_mul = has_silu},
                              stream.get());
        stream.synchronize();

        std::vector<float> actual = to_floats(y.values(), dtype);
        actual.resize(expected.size());
        expect_near(actual, expected, tolerance(dtype),
                    std::string(name_of(dtype)) + " n=" + std::to_string(s.n) +
                        " k=" + std::to_string(s.k) + " tokens=" + std::to_string(s.num_tokens) +
                        (has_silu ? " silu" : ""),
                    2.0f);
      }
    }
  }
}

/// A product of bfloat16 with pairs sorted by slot, of the rows of x that row_of says.
std::vector<std::uint8_t> product_of_pairs(const std::vector<std::int32_t>& slots,
                                           const std::vector<std::int32_t>& row_of, const Bytes& x,
                                           const Bytes& w, const ProductShape& shape,
                                           bool has_silu) {
  const tensor::Stream stream;
  const auto num_pairs = static_cast<std::int64_t>(slots.size());
  std::vector<std::int32_t> begin(static_cast<std::size_t>(shape.num_slots) + 1),
      pair_at(slots.size()), place(slots.size());
  cpu::sort_by_expert(slots.data(), num_pairs, shape.num_slots, begin.data(), pair_at.data(),
                      place.data());
  const OnDevice<std::int32_t> begin_there(begin), pair_at_there(pair_at), row_of_there(row_of);
  const std::int64_t size = has_silu ? shape.n / 2 : shape.n;
  const Bytes y = room_for(num_pairs * size, DType::bfloat16);
  cuda::grouped_product({.x = x.data(),
                         .x_stride = shape.k,
                         .pair_at = pair_at_there.data(),
                         .row_of = row_of_there.data(),
                         .top_k = shape.top_k,
                         .weight = w.data(),
                         .expert_begin = begin_there.data(),
                         .num_slots = shape.num_slots,
                         .num_places = num_pairs,
                         .y = y.data(),
                         .n = shape.n,
                         .k = shape.k,
                         .dtype = DType::bfloat16,
                         .has_silu_and_mul = has_silu},
                        stream.get());
  stream.synchronize();
  // Back from places to pairs.
  const std::vector<std::uint8_t> placed = y.values();
  std::vector<std::uint8_t> result;
  for (const std::int32_t at : place) {
    if (at < 0) continue;
    const auto row = placed.begin() + at * size * 2;
    result.insert(result.end(), row, row + size * 2);
  }
  return result;
}

TEST(CudaGroupedProduct, GivesFewPairsTheSameBitsWhateverIsBesideThem) {
  TRIREME_REQUIRES_GPU();
  // Slot 0 gets about half of the pairs: more than a tile has rows.
  for (const ProductShape& s : {ProductShape{8, 8, 16, 192, 520}, {4, 4, 64, 1536, 2048}}) {
    for (const bool has_silu : {false, true}) {
      const std::int64_t num_pairs = s.num_tokens * s.top_k;
      const std::vector<std::int32_t> slots = random_slots(num_pairs, s.num_slots, true);
      const Bytes x = upload(to_dtype(random_floats(s.num_tokens * s.k, 1), DType::bfloat16)),
                  w = upload(
                      to_dtype(random_floats(s.num_slots * s.n * s.k, 2, 0.05f), DType::bfloat16));
      std::vector<std::int32_t> row_of;
      for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
        row_of.push_back(static_cast<std::int32_t>(pair * 3 % s.num_tokens));
      }

      const std::vector<std::uint8_t> together = product_of_pairs(slots, row_of, x, w, s, has_silu);
      std::vector<std::uint8_t> alone;
      for (std::size_t pair = 0; pair < slots.size(); ++pair) {
        const auto of_pair = product_of_pairs({slots[pair]}, {row_of[pair]}, x, w, s, has_silu);
        alone.insert(alone.end(), of_pair.begin(), of_pair.end());
      }

      EXPECT_EQ(together, alone) << "n=" << s.n << " k=" << s.k << (has_silu ? " silu" : "");
    }
  }
}

/// One column of a row's product, as the CPU has it.
float expected_value(const TypedValues& x, std::int64_t row, const TypedValues& w,
                     std::int64_t slot, std::int64_t column, const ProductShape& s, bool has_silu) {
  const auto dot = [&](std::int64_t weight_row) {
    const float* from = x.floats.data() + row * s.k;
    const float* weight = w.floats.data() + (slot * s.n + weight_row) * s.k;
    double sum = 0;
    for (std::int64_t at = 0; at < s.k; ++at) sum += from[at] * weight[at];
    return sum;
  };
  if (!has_silu) return static_cast<float>(dot(column));
  const double gate = dot(column);
  return static_cast<float>(gate / (1.0 + std::exp(-gate)) * dot(s.n / 2 + column));
}

/// Compares the product of slots that have so many rows of x each, one behind the other, in
/// num_columns columns of every row. Behind the last place nothing must be written.
void expect_product_of_counts(const std::vector<std::int32_t>& counts, const ProductShape& s,
                              DType dtype, bool has_silu, std::int64_t num_columns) {
  std::vector<std::int32_t> begin{0};
  for (const std::int32_t count : counts) begin.push_back(begin.back() + count);
  const std::int64_t num_placed = begin.back(), num_places = num_placed + 3;
  const std::int64_t size = has_silu ? s.n / 2 : s.n;
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.k));
  const TypedValues x = to_dtype(random_floats(num_places * s.k, 1), dtype);
  const TypedValues w = to_dtype(random_floats(s.num_slots * s.n * s.k, 2, scale), dtype);
  const Bytes x_there = upload(x), w_there = upload(w), y = room_for(num_places * size, dtype);
  const OnDevice<std::int32_t> begin_there(begin);
  const tensor::Stream stream;

  cuda::grouped_product({.x = x_there.data(),
                         .x_stride = s.k,
                         .weight = w_there.data(),
                         .expert_begin = begin_there.data(),
                         .num_slots = s.num_slots,
                         .num_places = num_places,
                         .y = y.data(),
                         .n = s.n,
                         .k = s.k,
                         .dtype = dtype,
                         .has_silu_and_mul = has_silu},
                        stream.get());
  stream.synchronize();

  const std::vector<float> values = to_floats(y.values(), dtype);
  std::vector<float> actual, expected;
  for (std::int64_t slot = 0; slot < s.num_slots; ++slot) {
    for (std::int64_t row = begin[slot]; row < begin[slot + 1]; ++row) {
      for (std::int64_t i = 0; i < num_columns; ++i) {
        // All columns in turn where not every one is looked at.
        const std::int64_t column = num_columns == size ? i : (row * 131 + i * 977) % size;
        actual.push_back(values[row * size + column]);
        expected.push_back(expected_value(x, row, w, slot, column, s, has_silu));
      }
    }
  }
  expect_near(actual, expected, tolerance(dtype),
              std::string(name_of(dtype)) + " n=" + std::to_string(s.n) +
                  " k=" + std::to_string(s.k) + (has_silu ? " silu" : ""),
              2.0f);
  for (std::int64_t i = num_placed * size; i < num_places * size; ++i) {
    ASSERT_TRUE(std::isnan(values[i])) << "element " << i << " of " << num_placed * size;
  }
}

TEST(CudaGroupedProduct, TakesSlotsOfEveryNumberOfRows) {
  TRIREME_REQUIRES_GPU();
  const std::vector<std::int32_t> counts = {0,  1,  63,  64,  65,  0,  127, 128, 129, 300, 15,
                                            16, 17, 191, 192, 193, 31, 384, 385, 2,   0};
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const bool has_silu : {false, true}) {
      for (const auto& [n, k] : {std::pair{96, 72}, {320, 200}, {544, 64}, {32, 8}}) {
        const ProductShape shape{0, 1, static_cast<std::int64_t>(counts.size()), n, k};
        expect_product_of_counts(counts, shape, dtype, has_silu, has_silu ? n / 2 : n);
      }
    }
    expect_product_of_counts(counts, {0, 1, 21, 98, 264}, dtype, false, 98);
    expect_product_of_counts({700}, {0, 1, 1, 260, 136}, dtype, false, 260);
  }
}

TEST(CudaGroupedProduct, TakesAsManyRowsAsPrefillHas) {
  TRIREME_REQUIRES_GPU();
  const std::vector<std::int32_t> counts = {512, 497, 530, 0, 1700, 575, 577, 71};
  expect_product_of_counts(counts, {0, 1, 8, 1536, 2048}, DType::bfloat16, true, 8);
  expect_product_of_counts(counts, {0, 1, 8, 2048, 768}, DType::bfloat16, false, 16);
  // As many slots as there can be; most have few rows, and a cta has several tiles.
  std::vector<std::int32_t> of_many(1024, 0);
  for (std::size_t slot = 0; slot < of_many.size(); ++slot) {
    of_many[slot] = static_cast<std::int32_t>(slot * 7 % 41);
  }
  expect_product_of_counts(of_many, {0, 1, 1024, 320, 128}, DType::bfloat16, false, 16);
}

TEST(CudaGroupedProduct, GivesManyPairsTheSameBitsWhateverIsBesideThem) {
  TRIREME_REQUIRES_GPU();
  const ProductShape s{300, 1, 1, 320, 520};
  const Bytes x = upload(to_dtype(random_floats(s.num_tokens * s.k, 1), DType::bfloat16)),
              w = upload(to_dtype(random_floats(s.n * s.k, 2, 0.05f), DType::bfloat16));
  std::vector<std::int32_t> row_of;
  for (std::int64_t pair = 0; pair < s.num_tokens; ++pair) {
    row_of.push_back(static_cast<std::int32_t>(pair * 7 % s.num_tokens));
  }
  for (const bool has_silu : {false, true}) {
    const std::vector<std::uint8_t> together =
        product_of_pairs(std::vector<std::int32_t>(row_of.size(), 0), row_of, x, w, s, has_silu);
    std::vector<std::uint8_t> in_parts;
    auto from = row_of.begin();
    for (const int count : {17, 40, 70, 96, 77}) {
      const std::vector<std::int32_t> rows(from, from + count);
      const auto of_part =
          product_of_pairs(std::vector<std::int32_t>(rows.size(), 0), rows, x, w, s, has_silu);
      in_parts.insert(in_parts.end(), of_part.begin(), of_part.end());
      from += count;
    }

    EXPECT_EQ(together, in_parts) << (has_silu ? "silu" : "");
  }
}

TEST(CudaGroupedProduct, LeavesPlacesAloneThatNoSlotHas) {
  TRIREME_REQUIRES_GPU();
  const ProductShape shape{4, 2, 8, 98, 64};
  const Bytes x = upload(to_dtype(random_floats(4 * 64, 1), DType::bfloat16)),
              w = upload(to_dtype(random_floats(8 * 98 * 64, 2), DType::bfloat16)),
              y = room_for(8 * 98, DType::bfloat16);
  const OnDevice<std::int32_t> begin(std::vector<std::int32_t>(9, 0));
  const tensor::Stream stream;

  cuda::grouped_product({.x = x.data(),
                         .x_stride = 64,
                         .weight = w.data(),
                         .expert_begin = begin.data(),
                         .num_slots = 8,
                         .num_places = 8,
                         .y = y.data(),
                         .n = shape.n,
                         .k = shape.k},
                        stream.get());
  stream.synchronize();

  for (const float value : to_floats(y.values(), DType::bfloat16)) {
    EXPECT_TRUE(std::isnan(value));
  }
}

}  // namespace
}  // namespace trireme::kernels
