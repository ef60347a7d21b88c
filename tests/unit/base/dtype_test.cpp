#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace trireme {
namespace {

TEST(Float16, RoundTripsEveryFinitePattern) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = float16::to_float(half);
    if (std::isnan(value)) continue;

    EXPECT_EQ(float16::from_float(value), half) << value;
  }
}

TEST(Float16, RoundsToNearestEvenAndOverflowsToInfinity) {
  EXPECT_EQ(float(float16(1.0f + 0x1p-11f)), 1.0f);
  EXPECT_EQ(float(float16(1.0f + 3 * 0x1p-11f)), 1.0f + 2 * 0x1p-10f);
  EXPECT_EQ(float(float16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(float(float16(65520.0f))));
  EXPECT_TRUE(std::isnan(float(float16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(float(bfloat16(1.0f + 0x1p-8f)), 1.0f);
  EXPECT_EQ(float(bfloat16(1.0f + 3 * 0x1p-8f)), 1.0f + 2 * 0x1p-7f);
  EXPECT_TRUE(std::isnan(float(bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace trireme
