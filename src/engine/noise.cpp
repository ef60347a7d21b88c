#include "engine/noise.h"

#include <cmath>

namespace trireme::engine {
namespace {

constexpr int kNumRounds = 10;
constexpr std::uint32_t kMultiplier0 = 0xD2511F53U, kMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kKeyStep0 = 0x9E3779B9U, kKeyStep1 = 0xBB67AE85U;

/// One Philox round over kLanes counters that lie word by word.
template <int kLanes>
[[gnu::always_inline]] inline void philox_round(std::uint32_t (&counter)[4][kLanes],
                                                std::uint32_t key0, std::uint32_t key1) {
#pragma GCC unroll 1  // unrolled, the lanes would not be vectorised
  for (int lane = 0; lane < kLanes; ++lane) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0][lane];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2][lane];
    counter[0][lane] = static_cast<std::uint32_t>(product1 >> 32) ^ counter[1][lane] ^ key0;
    counter[1][lane] = static_cast<std::uint32_t>(product1);
    counter[2][lane] = static_cast<std::uint32_t>(product0 >> 32) ^ counter[3][lane] ^ key1;
    counter[3][lane] = static_cast<std::uint32_t>(product0);
  }
}

/// The words of kLanes quads from `first_quad` on, 4 · kLanes of them.
template <int kLanes>
[[gnu::always_inline]] inline void philox(std::uint64_t key, std::uint64_t position,
                                          std::uint32_t first_quad, std::uint32_t* words) {
  std::uint32_t counter[4][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    counter[0][lane] = static_cast<std::uint32_t>(position);
    counter[1][lane] = static_cast<std::uint32_t>(position >> 32);
    counter[2][lane] = first_quad + static_cast<std::uint32_t>(lane);
    counter[3][lane] = 0;
  }
  std::uint32_t key0 = static_cast<std::uint32_t>(key);
  std::uint32_t key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < kNumRounds; ++round) {
    philox_round(counter, key0, key1);
    key0 += kKeyStep0;
    key1 += kKeyStep1;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int word = 0; word < 4; ++word) words[4 * lane + word] = counter[word][lane];
  }
}

}  // namespace

std::uint64_t noise_key(std::uint64_t seed, std::uint64_t index, std::uint64_t sample) {
  return splitmix64(splitmix64(splitmix64(seed) + index) + sample);
}

std::array<std::uint32_t, 4> noise_words(std::uint64_t key, std::uint64_t position,
                                         std::uint32_t quad) {
  std::array<std::uint32_t, 4> words{};
  philox<1>(key, position, quad, words.data());
  return words;
}

void noise_block(std::uint64_t key, std::uint64_t position, std::uint32_t first_quad,
                 std::uint32_t* words) {
  philox<kNoiseBlock / 4>(key, position, first_quad, words);
}

float gumbel(std::uint32_t word) {
  const double u = (static_cast<double>(word >> 9) + 0.5) * 0x1p-23;
  return static_cast<float>(-std::log(-std::log(u)));
}

float noise_of(std::uint64_t key, std::uint64_t position, std::int32_t id) {
  const auto unsigned_id = static_cast<std::uint32_t>(id);
  return gumbel(noise_words(key, position, unsigned_id / 4)[unsigned_id % 4]);
}

}  // namespace trireme::engine
