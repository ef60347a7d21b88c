#include "layers/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trireme::layers {
namespace {

using checkpoint::RopeConfig;

// The expected values are computed by hand from the papers' formulas, in double.

TEST(RotaryFrequencies, DefaultIsAPowerOfTheta) {
  const RotaryFrequencies result = rotary_frequencies({.theta = 10000}, 8);

  ASSERT_EQ(result.inverse.size(), 4U);
  EXPECT_FLOAT_EQ(result.inverse[0], 1.0f);
  EXPECT_FLOAT_EQ(result.inverse[1], 0.1f);
  EXPECT_FLOAT_EQ(result.inverse[2], 0.01f);
  EXPECT_FLOAT_EQ(result.inverse[3], 0.001f);
  EXPECT_EQ(result.attention_factor, 1);
}

TEST(RotaryFrequencies, LinearDividesByTheFactor) {
  const RotaryFrequencies result =
      rotary_frequencies({.type = "linear", .theta = 10000, .factor = 4}, 8);

  EXPECT_FLOAT_EQ(result.inverse[1], 0.025f);
}

TEST(RotaryFrequencies, Llama3KeepsShortWavesStretchesLongOnesAndBlends) {
  // Wavelengths 6.28, 62.8, 628, 6283; short below 64 / 4 = 16, long above 64 / 1.
  const RotaryFrequencies result = rotary_frequencies({.type = "llama3",
                                                       .theta = 10000,
                                                       .factor = 8,
                                                       .low_freq_factor = 1,
                                                       .high_freq_factor = 4,
                                                       .original_max_positions = 64},
                                                      8);

  EXPECT_FLOAT_EQ(result.inverse[0], 1.0f);
  const double smooth = (64 / (20 * M_PI) - 1) / 3;
  EXPECT_FLOAT_EQ(result.inverse[1], static_cast<float>(0.1 * (smooth + (1 - smooth) / 8)));
  EXPECT_FLOAT_EQ(result.inverse[2], 0.01f / 8);
  EXPECT_FLOAT_EQ(result.inverse[3], 0.001f / 8);
}

RopeConfig yarn() {
  return {.type = "yarn", .theta = 10000, .factor = 4, .original_max_positions = 4096};
}

TEST(RotaryFrequencies, YarnRampsBetweenFastAndSlowPairs) {
  // Of 64 pairs, those before floor(20.94) = 20 turn more than 32 times over 4096 positions, those
  // from ceil(45.03) = 46 on less than once.
  const RotaryFrequencies result = rotary_frequencies(yarn(), 128);

  const auto unscaled = [](int pair) { return std::pow(10000.0, -2.0 * pair / 128); };
  EXPECT_FLOAT_EQ(result.inverse[20], static_cast<float>(unscaled(20)));
  EXPECT_FLOAT_EQ(result.inverse[46], static_cast<float>(unscaled(46) / 4));
  EXPECT_FLOAT_EQ(result.inverse[63], static_cast<float>(unscaled(63) / 4));
  const double ramp = (33.0 - 20) / (46 - 20);
  EXPECT_FLOAT_EQ(result.inverse[33], static_cast<float>(unscaled(33) * (1 - ramp + ramp / 4)));
  EXPECT_DOUBLE_EQ(result.attention_factor, 0.1 * std::log(4.0) + 1);
}

TEST(RotaryFrequencies, YarnTakesTheAttentionFactorAsGiven) {
  RopeConfig rope = yarn();
  rope.mscale = 0.5;
  rope.mscale_all_dim = 2;
  EXPECT_DOUBLE_EQ(rotary_frequencies(rope, 128).attention_factor,
                   (0.05 * std::log(4.0) + 1) / (0.2 * std::log(4.0) + 1));

  rope.attention_factor = 1.25;
  EXPECT_DOUBLE_EQ(rotary_frequencies(rope, 128).attention_factor, 1.25);
}

TEST(RotaryFrequencies, YarnWithoutTruncationRampsFromFractions) {
  RopeConfig rope = yarn();
  rope.truncate = false;
  const auto pair_of = [](double rotations) {
    return 128 * std::log(4096 / (rotations * 2 * M_PI)) / (2 * std::log(10000.0));
  };

  const double low = pair_of(32), high = pair_of(1), ramp = (21 - low) / (high - low);
  EXPECT_FLOAT_EQ(rotary_frequencies(rope, 128).inverse[21],
                  static_cast<float>(std::pow(10000.0, -42.0 / 128) * (1 - ramp + ramp / 4)));
}

}  // namespace
}  // namespace trireme::layers
