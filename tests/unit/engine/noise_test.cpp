#include "engine/noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace trireme::engine {
namespace {

TEST(Noise, MatchesTheFirstTestVectorOfTheDesign) {
  const std::uint64_t key = noise_key(0, 0, 0);
  const std::array<std::uint32_t, 4> expected{0xfaadd8fd, 0xefa8ade3, 0xec257c5c, 0xce6bda56};

  EXPECT_EQ(key, 0x238275bc38fcbe91U);
  EXPECT_EQ(noise_words(key, 0, 0), expected);
  EXPECT_NEAR(gumbel(expected[0]), 3.863050, 1e-6);
  EXPECT_EQ(noise_of(key, 0, 0), gumbel(expected[0]));
}

TEST(Noise, MatchesTheSecondTestVectorOfTheDesign) {
  const std::uint64_t key = noise_key(42, 7, 1);
  const std::array<std::uint32_t, 4> expected{0x2f521fd3, 0xad185558, 0x6cfe82bb, 0x51f7ec6a};

  EXPECT_EQ(key, 0x8b622083ee62dfdcU);
  EXPECT_EQ(noise_words(key, 300, 1), expected);
  EXPECT_NEAR(gumbel(expected[0]), -0.523679, 1e-6);
  EXPECT_EQ(noise_of(key, 300, 4), gumbel(expected[0]));
}

TEST(Noise, OfABlockIsThatOfItsIds) {
  const std::uint64_t key = noise_key(5, 6, 7);
  const std::uint64_t position = (std::uint64_t{3} << 32) + 9;
  std::uint32_t words[kNoiseBlock];

  noise_block(key, position, 1000, words);

  for (std::uint32_t i = 0; i < kNoiseBlock; ++i) {
    EXPECT_EQ(words[i], noise_words(key, position, 1000 + i / 4)[i % 4]) << "id " << i;
  }
}

TEST(Noise, DependsOnSeedIndexSampleAndBothWordsOfThePosition) {
  const std::set<std::uint64_t> keys{noise_key(1, 2, 3), noise_key(2, 2, 3), noise_key(1, 3, 3),
                                     noise_key(1, 2, 4), noise_key(2, 1, 3), noise_key(1, 3, 2)};

  EXPECT_EQ(keys.size(), 6U);
  EXPECT_NE(noise_words(1, 2, 3), noise_words(1, 2 + (std::uint64_t{1} << 32), 3));
  EXPECT_NE(noise_words(1, 2, 3), noise_words(1 + (std::uint64_t{1} << 32), 2, 3));
}

TEST(Gumbel, IsFiniteAtBothEndsAndBelowItsBound) {
  EXPECT_NEAR(gumbel(0), -std::log(24 * std::log(2.0)), 1e-6);
  EXPECT_NEAR(gumbel(0xffffffffU), 24 * std::log(2.0), 1e-5);
  EXPECT_LT(gumbel(0xffffffffU), kNoiseBound);
}

}  // namespace
}  // namespace trireme::engine
