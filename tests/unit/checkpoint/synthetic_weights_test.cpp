#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "checkpoint/weight_loader.h"

namespace trireme::checkpoint {
namespace {

using tensor::Shape;
using tensor::Tensor;

/// The values of one slice of a tensor that no file holds.
std::vector<float> synthetic(const std::string& name, const Shape& stored, const Slice& slice,
                             const Shape& shape, std::uint64_t seed = 1) {
  WeightLoader loader(
      {.mode = WeightLoader::Mode::synthetic, .dtype = DType::float32, .seed = seed});
  const Tensor weight = loader.allocate(shape, loader.dtype_of(name));
  loader.want(name, stored, slice, weight);
  loader.load();
  const auto* values = weight.view().as<float>();
  return {values, values + shape.num_elements()};
}

double mean_of(const std::vector<float>& values, int power) {
  double sum = 0;
  for (const float value : values) sum += std::pow(value / 0.02, power);
  return sum / static_cast<double>(values.size());
}

/// The share of values within so many deviations.
double share_within(const std::vector<float>& values, double deviations) {
  const auto count = std::ranges::count_if(
      values, [&](float value) { return std::abs(value) <= 0.02 * deviations; });
  return static_cast<double>(count) / static_cast<double>(values.size());
}

TEST(SyntheticWeights, AreNormal) {
  const Shape shape{1000, 1000};

  const std::vector<float> values = synthetic("a.weight", shape, {}, shape);

  // Four deviations of the estimates over a million values.
  EXPECT_NEAR(mean_of(values, 1), 0, 4e-3);
  EXPECT_NEAR(mean_of(values, 2), 1, 6e-3);
  EXPECT_NEAR(mean_of(values, 3), 0, 2e-2);
  EXPECT_NEAR(mean_of(values, 4), 3, 7e-2);
  for (const double deviations : {0.1, 0.5, 1.0, 2.0, 3.0}) {
    EXPECT_NEAR(share_within(values, deviations), std::erf(deviations / std::sqrt(2)), 2.5e-3);
  }
}

TEST(SyntheticWeights, DependOnSeedAndName) {
  const Shape shape{64, 65};

  const std::vector<float> values = synthetic("a.weight", shape, {}, shape);

  EXPECT_EQ(synthetic("a.weight", shape, {}, shape), values);
  EXPECT_NE(synthetic("b.weight", shape, {}, shape), values);
  EXPECT_NE(synthetic("a.weight", shape, {}, shape, 2), values);
}

TEST(SyntheticWeights, OfALayoutArePartsOfTheWhole) {
  const std::int64_t rows = 12, columns = 10;

  const std::vector<float> whole = synthetic("a", {rows, columns}, {}, {rows, columns});
  const std::vector<float> some_rows = synthetic("a", {rows, columns}, {0, 3, 6}, {3, columns});
  const std::vector<float> some_columns = synthetic("a", {rows, columns}, {1, 4, 8}, {rows, 4});

  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const float value = whole[static_cast<std::size_t>(row * columns + column)];
      if (row >= 3 && row < 6) {
        EXPECT_EQ(some_rows[static_cast<std::size_t>((row - 3) * columns + column)], value);
      }
      if (column >= 4 && column < 8) {
        EXPECT_EQ(some_columns[static_cast<std::size_t>(row * 4 + column - 4)], value);
      }
    }
  }
}

TEST(SyntheticWeights, HaveNormsOfOneAndBiasesOfZero) {
  EXPECT_EQ(synthetic("model.layers.0.input_layernorm.weight", {8}, {}, {8}),
            std::vector<float>(8, 1.0f));
  EXPECT_EQ(synthetic("model.layers.0.self_attn.q_norm.weight", {8}, {0, 2, 4}, {2}),
            std::vector<float>(2, 1.0f));
  EXPECT_EQ(synthetic("model.layers.0.self_attn.q_proj.bias", {8}, {}, {8}),
            std::vector<float>(8, 0.0f));
}

TEST(SyntheticWeights, NeedNoFiles) {
  WeightLoader loader({.mode = WeightLoader::Mode::synthetic});

  const Tensor weight = loader.allocate({2, 3}, loader.dtype_of("a"));
  loader.check("a", {2, 3});
  loader.want("a", {2, 3}, {}, weight);
  const WeightLoader::Summary summary = loader.load();

  EXPECT_TRUE(loader.has("a"));
  EXPECT_EQ(loader.dtype_of("a"), DType::bfloat16);
  EXPECT_EQ(loader.allocated_bytes(), 12);
  EXPECT_EQ(summary.bytes_kept, 12);
  EXPECT_EQ(summary.bytes_read, 0);
  EXPECT_NE(float(weight.view().as<bfloat16>()[5]), 0);
}

}  // namespace
}  // namespace trireme::checkpoint
