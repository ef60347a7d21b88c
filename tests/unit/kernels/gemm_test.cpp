#include "kernels/gemm.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>

#include "kernel_data.h"

namespace trireme::kernels::cpu {
namespace {

struct Shape {
  std::int64_t m, n, k;
};

// Rows and columns that leave rests in every tile; K over one, two and three pieces.
const std::vector<Shape> kShapes = {{0, 5, 8},      {1, 1, 1},    {1, 4, 0},     {1, 17, 33},
                                    {2, 9, 64},     {3, 64, 31},  {4, 7, 96},    {5, 130, 48},
                                    {8, 12, 1537},  {9, 67, 100}, {12, 4, 2100}, {31, 65, 577},
                                    {49, 83, 1031}, {64, 64, 33}, {133, 70, 40}, {150, 9, 1600}};

/// A product with gaps in the rows of X and Y.
struct Product {
  Shape shape;
  std::vector<float> x, bias, y;
  TypedValues weight;
  std::int64_t x_stride, y_stride;

  Product(const Shape& extents, DType dtype)
      : shape(extents), x_stride(extents.k + 3), y_stride(extents.n + 5) {
    x = random_floats(shape.m * x_stride, 1);
    bias = random_floats(shape.n, 2);
    weight = to_dtype(random_floats(shape.n * shape.k, 3), dtype);
    y.assign(static_cast<std::size_t>(shape.m * y_stride), 777.0f);
  }

  Gemm::Operands operands(bool with_bias) {
    return {.x = x.data(),
            .x_stride = x_stride,
            .weight = weight.data(),
            .weight_dtype = weight.dtype,
            .bias = with_bias ? bias.data() : nullptr,
            .y = y.data(),
            .y_stride = y_stride,
            .m = shape.m,
            .n = shape.n,
            .k = shape.k};
  }

  /// The largest error in units of float32 rounding of the sum of magnitudes.
  double error(bool with_bias, bool rounded) const {
    double worst = 0;
    for (std::int64_t m = 0; m < shape.m; ++m) {
      for (std::int64_t n = 0; n < shape.n; ++n) {
        double sum = with_bias ? bias[n] : 0, magnitude = std::abs(sum) + 1e-30;
        for (std::int64_t k = 0; k < shape.k; ++k) {
          const float value = x[m * x_stride + k];
          const double product =
              static_cast<double>(rounded ? static_cast<float>(bfloat16(value)) : value) *
              weight.floats[n * shape.k + k];
          sum += product;
          magnitude += std::abs(product);
        }
        const double epsilon = std::numeric_limits<float>::epsilon();
        worst = std::max(worst, std::abs(y[m * y_stride + n] - sum) / (magnitude * epsilon));
      }
    }
    return worst;
  }

  bool gaps_untouched() const {
    for (std::int64_t m = 0; m < shape.m; ++m) {
      for (std::int64_t n = shape.n; n < y_stride; ++n) {
        if (y[m * y_stride + n] != 777.0f) return false;
      }
    }
    return true;
  }
};

void check_all(bool round_to_bf16) {
  for (const InstructionSet set : available_sets()) {
    Gemm gemm(set, round_to_bf16);
    for (const DType dtype : kFloatTypes) {
      for (const Shape& shape : kShapes) {
        for (const bool with_bias : {false, true}) {
          Product product(shape, dtype);

          gemm.run(product.operands(with_bias));

          const bool rounded =
              round_to_bf16 && set == InstructionSet::avx512_bf16 && dtype == DType::bfloat16;
          EXPECT_LT(product.error(with_bias, rounded), 6.0)
              << name_of(set) << " " << name_of(dtype) << " m=" << shape.m << " n=" << shape.n
              << " k=" << shape.k << " bias=" << with_bias;
          EXPECT_TRUE(product.gaps_untouched());
        }
      }
    }
  }
}

TEST(Gemm, IsExactInFloat32ForEveryWeightTypeAndInstructionSet) { check_all(false); }

TEST(Gemm, RoundsOnlyXAndOnlyToBfloat16WhenAllowed) { check_all(true); }

TEST(Gemm, GivesEqualBitsWithAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  for (const InstructionSet set : available_sets()) {
    for (const bool round_to_bf16 : {false, true}) {
      for (const Shape& shape : {Shape{1, 700, 600}, Shape{40, 300, 900}, Shape{300, 130, 1600}}) {
        Product product(shape, DType::bfloat16);
        Gemm gemm(set, round_to_bf16);
        omp_set_num_threads(1);
        gemm.run(product.operands(true));
        const std::vector<float> expected = product.y;

        for (const int other : {2, 3, 5}) {
          omp_set_num_threads(other);
          gemm.run(product.operands(true));

          EXPECT_EQ(product.y, expected) << name_of(set) << " threads=" << other;
        }
        omp_set_num_threads(threads);
      }
    }
  }
}

TEST(Gemm, GivesARowEqualBitsInAFloat32BatchOfAnySize) {
  for (const InstructionSet set : available_sets()) {
    for (const DType dtype : kFloatTypes) {
      Product all({200, 45, 1700}, dtype);
      Gemm gemm(set, false);
      gemm.run(all.operands(true));
      const std::vector<float> expected = all.y;

      for (const std::int64_t m : {1, 2, 3, 4, 8, 9, 50}) {
        Gemm::Operands some = all.operands(true);
        some.m = m;
        all.y.assign(all.y.size(), 0.0f);
        gemm.run(some);

        for (std::int64_t row = 0; row < m; ++row) {
          for (std::int64_t n = 0; n < 45; ++n) {
            const auto at = static_cast<std::size_t>(row * all.y_stride + n);
            ASSERT_EQ(all.y[at], expected[at]) << name_of(set) << " m=" << m << " row=" << row;
          }
        }
      }
    }
  }
}

TEST(Gemm, RunsIndependentProductsTogether) {
  for (const InstructionSet set : available_sets()) {
    for (const bool round_to_bf16 : {false, true}) {
      std::vector<Product> products;
      for (const Shape& shape : {Shape{2, 40, 96}, Shape{0, 40, 96}, Shape{30, 40, 96},
                                 Shape{1, 40, 96}, Shape{140, 40, 96}}) {
        products.emplace_back(shape, DType::bfloat16);
      }
      std::vector<Gemm::Operands> operands;
      for (Product& product : products) operands.push_back(product.operands(true));
      Gemm gemm(set, round_to_bf16);

      gemm.run_all(operands);

      const bool rounded = round_to_bf16 && set == InstructionSet::avx512_bf16;
      for (const Product& product : products) EXPECT_LT(product.error(true, rounded), 6.0);
    }
  }
}

TEST(Gemm, KeepsInfinityNanAndSubnormalsOfFloat16Weights) {
  for (const InstructionSet set : available_sets()) {
    const std::vector<float16> weight = [] {
      std::vector<float16> values(32);
      const std::uint16_t bits[] = {0x7c00, 0xfc00, 0x7e00, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x8000};
      for (std::size_t i = 0; i < 8; ++i) values[i * 4].bits = bits[i];
      return values;
    }();
    const std::vector<float> one(4, 1.0f);
    std::vector<float> y(8);
    Gemm gemm(set, false);

    gemm.run({.x = one.data(),
              .x_stride = 4,
              .weight = weight.data(),
              .weight_dtype = DType::float16,
              .y = y.data(),
              .y_stride = 8,
              .m = 1,
              .n = 8,
              .k = 4});

    const float infinity = std::numeric_limits<float>::infinity();
    EXPECT_EQ(y[0], infinity);
    EXPECT_EQ(y[1], -infinity);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], std::ldexp(1.0f, -24));
    EXPECT_EQ(y[4], -1023 * std::ldexp(1.0f, -24));
    EXPECT_EQ(y[5], std::ldexp(1.0f, -14));
    EXPECT_EQ(y[6], 65504.0f);
    EXPECT_EQ(y[7], 0.0f);
  }
}

}  // namespace
}  // namespace trireme::kernels::cpu
