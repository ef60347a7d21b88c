#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernel_data.h"
#include "kernels/activation.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

namespace trireme::kernels::cpu {
namespace {

double relative_error(double value, double expected) {
  return std::abs(value - expected) / std::max(std::abs(expected), 1e-30);
}

TEST(SiluAndMul, IsWithinAFewRoundingsForEverySize) {
  for (const InstructionSet set : available_sets()) {
    for (const std::int64_t size : {1, 7, 16, 33, 1536}) {
      const std::int64_t num_rows = 3;
      const std::vector<float> gate_up = random_floats(num_rows * 2 * size, 1, 8.0f);
      std::vector<float> y(static_cast<std::size_t>(num_rows * size));

      silu_and_mul(gate_up.data(), y.data(), num_rows, size, set);

      for (std::int64_t i = 0; i < num_rows * size; ++i) {
        const double gate = gate_up[i / size * 2 * size + i % size];
        const double up = gate_up[i / size * 2 * size + size + i % size];
        ASSERT_LT(relative_error(y[i], gate / (1 + std::exp(-gate)) * up), 5e-7)
            << name_of(set) << " gate=" << gate;
      }
    }
  }
}

TEST(SiluAndMul, GoesToZeroAndToTheGateAtTheEnds) {
  for (const InstructionSet set : available_sets()) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> gate_up = {-1e4f, -200.0f, 200.0f, nan, 1, 1, 1, 1};
    std::vector<float> y(4);

    silu_and_mul(gate_up.data(), y.data(), 1, 4, set);

    EXPECT_NEAR(y[0], 0.0f, 1e-30f);
    EXPECT_NEAR(y[1], 0.0f, 1e-30f);
    EXPECT_EQ(y[2], 200.0f);
    EXPECT_TRUE(std::isnan(y[3]));
  }
}

TEST(RmsNorm, EqualsItsDefinitionOnStridedRowsAndInPlace) {
  for (const InstructionSet set : available_sets()) {
    for (const std::int64_t size : {1, 15, 64, 577}) {
      const std::int64_t stride = size + 3, num_rows = 4;
      const std::vector<float> x = random_floats(num_rows * stride, 2);
      const std::vector<float> weight = random_floats(size, 3);
      std::vector<float> y = x;

      rms_norm(y.data(), stride, weight.data(), 1e-5f, y.data(), stride, num_rows, size, set);

      for (std::int64_t row = 0; row < num_rows; ++row) {
        double sum = 0;
        for (std::int64_t i = 0; i < size; ++i) sum += std::pow(x[row * stride + i], 2.0);
        const double factor = 1 / std::sqrt(sum / static_cast<double>(size) + 1e-5);
        for (std::int64_t i = 0; i < size; ++i) {
          ASSERT_LT(relative_error(y[row * stride + i], x[row * stride + i] * factor * weight[i]),
                    1e-6);
        }
        EXPECT_EQ(y[row * stride + size], x[row * stride + size]);  // the gap
      }
    }
  }
}

TEST(RmsNorm, OfHeadsEqualsTheNormOfEachHeadAlone) {
  for (const InstructionSet set : available_sets()) {
    const std::int64_t num_rows = 3, num_heads = 5, head_dim = 24, stride = 130;
    std::vector<float> x = random_floats(num_rows * stride, 4);
    const std::vector<float> weight = random_floats(head_dim, 5);
    std::vector<float> expected = x;
    for (std::int64_t row = 0; row < num_rows; ++row) {
      float* at = expected.data() + row * stride;
      rms_norm(at, head_dim, weight.data(), 1e-6f, at, head_dim, num_heads, head_dim, set);
    }

    rms_norm_heads(x.data(), stride, weight.data(), 1e-6f, num_rows, num_heads, head_dim, set);

    EXPECT_EQ(x, expected);
  }
}

TEST(ScaleByNorm, WithTheSumOfTheWholeRowEqualsRmsNormOfIt) {
  for (const InstructionSet set : available_sets()) {
    const std::int64_t num_rows = 2, size = 96, half = 48;
    const std::vector<float> x = random_floats(num_rows * size, 6), weight = random_floats(size, 7);
    std::vector<float> expected(x.size()), y(x.size()), left(2), right(2);
    rms_norm(x.data(), size, weight.data(), 1e-5f, expected.data(), size, num_rows, size, set);

    sum_of_squares(x.data(), size, left.data(), num_rows, half, set);
    sum_of_squares(x.data() + half, size, right.data(), num_rows, half, set);
    add(left.data(), right.data(), num_rows);
    for (const std::int64_t begin : {std::int64_t{0}, half}) {
      scale_by_norm(x.data() + begin, size, right.data(), size, weight.data() + begin, 1e-5f,
                    y.data() + begin, size, num_rows, half, set);
    }

    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], expected[i], 1e-6);
  }
}

TEST(Rope, RotatesPairsOfHalvesAndLeavesTheRest) {
  for (const InstructionSet set : available_sets()) {
    for (const std::int64_t rotary_dim : {2, 10, 32, 64}) {
      const std::int64_t num_tokens = 3, num_heads = 2, head_dim = 64, stride = 133;
      const std::vector<float> before = random_floats(num_tokens * stride, 8);
      const std::vector<float> table = random_floats(10 * rotary_dim, 9);
      const std::vector<std::int32_t> positions = {9, 0, 4};
      std::vector<float> x = before;

      rope(x.data(), stride, positions.data(), table.data(), num_tokens, num_heads, head_dim,
           rotary_dim, set);

      std::vector<float> expected = before;
      const std::int64_t half = rotary_dim / 2;
      for (std::int64_t i = 0; i < num_tokens * num_heads * half; ++i) {
        const std::int64_t token = i / half / num_heads, head = i / half % num_heads;
        const std::int64_t at = token * stride + head * head_dim + i % half;
        const float* row = table.data() + positions[token] * rotary_dim + i % half;
        expected[at] = before[at] * row[0] - before[at + half] * row[half];
        expected[at + half] = before[at + half] * row[0] + before[at] * row[half];
      }
      for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 2e-6);
    }
  }
}

TEST(ElementwiseKernels, GiveEqualBitsWithEveryInstructionSet) {
  const std::int64_t num_rows = 3, size = 150;
  const std::vector<float> x = random_floats(num_rows * 2 * size, 10, 3.0f);
  const std::vector<float> weight = random_floats(size, 11);
  const auto run = [&](InstructionSet set) {
    std::vector<float> silu(static_cast<std::size_t>(num_rows * size)), norm = silu, rotated = x;
    silu_and_mul(x.data(), silu.data(), num_rows, size, set);
    rms_norm(x.data(), 2 * size, weight.data(), 1e-5f, norm.data(), size, num_rows, size, set);
    const std::vector<std::int32_t> positions = {0, 1, 2};
    rope(rotated.data(), 2 * size, positions.data(), x.data(), num_rows, 2, size, 100, set);
    silu.insert(silu.end(), norm.begin(), norm.end());
    silu.insert(silu.end(), rotated.begin(), rotated.end());
    return silu;
  };

  const std::vector<float> expected = run(InstructionSet::generic);

  for (const InstructionSet set : available_sets()) EXPECT_EQ(run(set), expected) << name_of(set);
}

TEST(Embedding, WidensRowsAndGivesZerosForOtherShards) {
  for (const DType dtype : kFloatTypes) {
    const std::int64_t size = 19, num_rows = 5, vocab_begin = 100;
    const TypedValues table = to_dtype(random_floats(num_rows * size, 12), dtype);
    const std::vector<std::int32_t> ids = {104, 99, 100, 105, -1, 102};
    std::vector<float> y(ids.size() * size, 777.0f);

    embedding(ids.data(), static_cast<std::int64_t>(ids.size()), table.data(), dtype, vocab_begin,
              num_rows, size, y.data());

    for (std::size_t token = 0; token < ids.size(); ++token) {
      const std::int64_t row = ids[token] - vocab_begin;
      for (std::int64_t i = 0; i < size; ++i) {
        const bool inside = row >= 0 && row < num_rows;
        EXPECT_EQ(y[token * size + i], inside ? table.floats[row * size + i] : 0.0f);
      }
    }
  }
}

}  // namespace
}  // namespace trireme::kernels::cpu
