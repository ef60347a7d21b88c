#include "engine/logit_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/noise.h"
#include "base/vector_clones.h"

namespace trireme::engine {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kHighest = std::numeric_limits<float>::infinity();
constexpr std::size_t kLanes = 16;

/// The larger; NaN loses when it comes first, as in the vector instruction.
[[gnu::always_inline]] inline float larger(float candidate, float than) {
  return candidate > than ? candidate : than;
}

[[gnu::always_inline]] inline float smaller(float candidate, float than) {
  return candidate < than ? candidate : than;
}

[[gnu::always_inline]] inline float maximum(const float* values, std::size_t count) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = kLowest;
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = larger(values[i + lane], lanes[lane]);
    }
  }
  float result = kLowest;
  for (const float lane : lanes) result = larger(lane, result);
  for (; i < count; ++i) result = larger(values[i], result);
  return result;
}

TRIREME_VECTOR_CLONES float maximum_of(const float* values, std::size_t count) {
  return maximum(values, count);
}

/// e^x for −87 ≤ x ≤ 0 within 1.5 units in the last place: 2^n · e^r with |r| ≤ ln 2 / 2 and the
/// series of e^r, whose first term left out is below 6e-9.
[[gnu::always_inline]] inline float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;  // their sum is ln 2
  const auto n = static_cast<std::int32_t>(x * kLog2E - 0.5F);         // to nearest, as x ≤ 0
  const auto whole = static_cast<float>(n);
  const float r = (x - whole * kLn2High) - whole * kLn2Low;
  float series = 1.0F / 5040;
  series = series * r + 1.0F / 720;
  series = series * r + 1.0F / 120;
  series = series * r + 1.0F / 24;
  series = series * r + 1.0F / 6;
  series = series * r + 0.5F;
  series = series * r + 1.0F;
  series = series * r + 1.0F;
  return series * std::bit_cast<float>((n + 127) << 23);
}

/// Σ exp(value − largest), in double; the order of the sum is that of the lanes on every processor.
TRIREME_VECTOR_CLONES double sum_of_exp(const float* values, std::size_t count, float largest) {
  constexpr float kSmallest = -87.0F;  // e^−87 is lost beside the largest's 1
  constexpr std::size_t kBlock = 256;
  double lanes[kLanes] = {};
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    // Loops of one simple step each, so that all of them are vectorised.
    const std::size_t size = count - begin < kBlock ? count - begin : kBlock;
    float terms[kBlock];
    for (std::size_t i = 0; i < size; ++i) {
      terms[i] = larger(values[begin + i] - largest, kSmallest);
    }
    for (std::size_t i = 0; i < size; ++i) terms[i] = exp_of_negative(terms[i]);
    for (std::size_t i = size; i < kBlock; ++i) terms[i] = 0;
    for (std::size_t i = 0; i < kBlock; i += kLanes) {
#pragma GCC unroll 1
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += static_cast<double>(terms[i + lane]);
      }
    }
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

/// Which of a block's values may reach `best` with their noise: a cheap test that never says no to
/// one that does. g ≥ best − z needs 1 − u ≤ −ln u ≤ e^(z − best), and 2^y ≤ (1 + frac y) · 2^⌊y⌋,
/// whose right side is an integer operation on the bits of a float.
///   returns  whether there is any
TRIREME_VECTOR_CLONES bool may_reach(const float* values, const std::uint32_t* words, float best,
                                     std::int32_t* may) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kMargin = 1e-4F;          // covers the rounding of what follows
  constexpr float kLeast = -30, kMost = 4;  // e^-30 is below every 1 - u, e^4 above
  constexpr float kExponentUnit = 0x1p23F;
  const float slack = (std::fabs(best) + 32.0F) * 3e-7F;  // rounding of value + noise
  std::int32_t any = 0;
  for (int i = 0; i < kNoiseBlock; ++i) {
    const float difference = larger(values[i] - best + slack, kLeast);
    const float exponent = (smaller(difference, kMost) * kLog2E + kMargin) * kExponentUnit;
    const float power = std::bit_cast<float>(static_cast<std::int32_t>(exponent) + (127 << 23));
    const auto from_one = static_cast<float>((1 << 23) - static_cast<std::int32_t>(words[i] >> 9));
    may[i] = from_one - 0.5F <= power * kExponentUnit ? 1 : 0;
    any |= may[i];
  }
  return any != 0;
}

}  // namespace

Candidate largest_of(std::span<const float> values, std::int32_t first_id) {
  constexpr std::size_t kBlock = 1024;
  Candidate best{kLowest, -1, 0};
  std::size_t best_begin = 0;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const float value = maximum_of(values.data() + begin, std::min(kBlock, values.size() - begin));
    if (value > best.value) {
      best.value = value;
      best_begin = begin;
    }
  }
  if (best.value == kLowest) return best;
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(best_begin);
  best.id = first_id +
            static_cast<std::int32_t>(std::find(begin, values.end(), best.value) - values.begin());
  return best;
}

Candidate largest_with_noise(std::span<const float> values, std::int32_t first_id,
                             std::uint64_t key, std::int64_t position) {
  const auto counter = static_cast<std::uint64_t>(position);
  Candidate best = largest_of(values, first_id);
  if (best.id < 0) return best;
  // The likeliest id first: most blocks then cannot reach it whatever their noise.
  best.value += noise_of(key, counter, best.id);

  const std::int64_t end = std::int64_t{first_id} + static_cast<std::int64_t>(values.size());
  for (std::int64_t begin = first_id / 4 * 4; begin < end; begin += kNoiseBlock) {
    float edge[kNoiseBlock];
    const float* block = edge;
    if (begin >= first_id && begin + kNoiseBlock <= end) {
      block = values.data() + (begin - first_id);
    } else {
      for (int i = 0; i < kNoiseBlock; ++i) {
        const bool inside = begin + i >= first_id && begin + i < end;
        edge[i] = inside ? values[static_cast<std::size_t>(begin + i - first_id)] : kLowest;
      }
    }
    if (maximum_of(block, kNoiseBlock) + kNoiseBound < best.value) continue;
    std::uint32_t words[kNoiseBlock];
    std::int32_t may[kNoiseBlock];
    noise_block(key, counter, static_cast<std::uint32_t>(begin / 4), words);
    if (!may_reach(block, words, best.value, may)) continue;
    for (int i = 0; i < kNoiseBlock; ++i) {
      if (may[i] == 0) continue;
      const float value = block[i] + gumbel(words[i]);
      const auto id = static_cast<std::int32_t>(begin + i);
      if (value > best.value || (value == best.value && id < best.id)) best = {value, id, 0};
    }
  }
  return best;
}

TRIREME_VECTOR_CLONES
void block_maxima(std::span<const float> values, std::size_t block, float* maxima) {
  for (std::size_t begin = 0; begin < values.size(); begin += block) {
    const std::size_t left = values.size() - begin;
    *maxima++ = maximum(values.data() + begin, left < block ? left : block);
  }
}

bool has_finite(std::span<const float> values) {
  return std::any_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

LogSumExp log_sum_exp(std::span<const float> values) {
  LogSumExp result;
  result.largest = maximum_of(values.data(), values.size());
  if (result.largest == kHighest) {
    result.sum = static_cast<double>(std::count(values.begin(), values.end(), kHighest));
  } else if (result.largest > kLowest) {
    result.sum = sum_of_exp(values.data(), values.size(), result.largest);
  }
  return result;
}

void LogSumExp::add(const LogSumExp& other) {
  if (other.sum == 0) return;
  const float both = larger(other.largest, largest);
  const auto scale = [both](float from) {
    return from == both ? 1.0 : std::exp(static_cast<double>(from) - static_cast<double>(both));
  };
  sum = sum * scale(largest) + other.sum * scale(other.largest);
  largest = both;
}

float LogSumExp::logprob(float logit) const {
  if (!(logit > kLowest)) return kLowest;
  const double below =
      logit == largest ? 0 : static_cast<double>(logit) - static_cast<double>(largest);
  return static_cast<float>(below - std::log(sum));
}

}  // namespace trireme::engine
