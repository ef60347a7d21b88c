#include "layers/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/ops.h"

namespace trireme::layers {
namespace {

using checkpoint::RopeConfig;

// The frequencies are kept in float32, as the models were trained with them.
float base_frequency(const RopeConfig& rope, std::int64_t pair, std::int64_t rotary_dim) {
  const double exponent = static_cast<double>(2 * pair) / static_cast<double>(rotary_dim);
  return static_cast<float>(1.0 / std::pow(rope.theta, exponent));
}

/// Long waves are stretched by the factor, short ones kept, and those between are blended.
double llama3_frequency(const RopeConfig& rope, double frequency) {
  const auto length = static_cast<double>(rope.original_max_positions);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > length / rope.low_freq_factor) return frequency / rope.factor;
  if (wavelength < length / rope.high_freq_factor) return frequency;
  const double smooth =
      (length / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

/// The pair (fractional) that turns `rotations` times over the original positions.
double pair_of_rotations(const RopeConfig& rope, double rotations, std::int64_t rotary_dim) {
  const auto length = static_cast<double>(rope.original_max_positions);
  return static_cast<double>(rotary_dim) * std::log(length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

double yarn_attention_factor(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  const double mscale = rope.mscale.value_or(0), all_dim = rope.mscale_all_dim.value_or(0);
  if (mscale != 0 && all_dim != 0) {
    return yarn_scale(rope.factor, mscale) / yarn_scale(rope.factor, all_dim);
  }
  return yarn_scale(rope.factor, 1);
}

/// Pairs that turn often are kept, those that turn seldom stretched, with a ramp between.
void scale_yarn(const RopeConfig& rope, std::int64_t rotary_dim, std::vector<float>& inverse) {
  double low = pair_of_rotations(rope, rope.beta_fast, rotary_dim);
  double high = pair_of_rotations(rope, rope.beta_slow, rotary_dim);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotary_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t pair = 0; pair < inverse.size(); ++pair) {
    const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
    const double frequency = inverse[pair];
    inverse[pair] = static_cast<float>(frequency / rope.factor * ramp + frequency * (1 - ramp));
  }
}

void fill_table(const RopeConfig& rope, const TensorView& table) {
  const std::int64_t rotary_dim = table.shape[1];
  const RotaryFrequencies frequencies = rotary_frequencies(rope, rotary_dim);
  const std::size_t half = frequencies.inverse.size();
  for (std::int64_t position = 0; position < table.rows(); ++position) {
    float* cosines = table.as<float>() + position * rotary_dim;
    for (std::size_t pair = 0; pair < half; ++pair) {
      // The angle is rounded to float32 as well, see above.
      const float angle = static_cast<float>(position) * frequencies.inverse[pair];
      cosines[pair] = static_cast<float>(std::cos(angle) * frequencies.attention_factor);
      cosines[pair + half] = static_cast<float>(std::sin(angle) * frequencies.attention_factor);
    }
  }
}

}  // namespace

RotaryFrequencies rotary_frequencies(const RopeConfig& rope, std::int64_t rotary_dim) {
  RotaryFrequencies result;
  for (std::int64_t pair = 0; pair < rotary_dim / 2; ++pair) {
    float frequency = base_frequency(rope, pair, rotary_dim);
    if (rope.type == "linear") frequency = static_cast<float>(frequency / rope.factor);
    if (rope.type == "llama3") frequency = static_cast<float>(llama3_frequency(rope, frequency));
    result.inverse.push_back(frequency);
  }
  if (rope.type == "yarn") {
    scale_yarn(rope, rotary_dim, result.inverse);
    result.attention_factor = yarn_attention_factor(rope);
  }
  return result;
}

Rotary::Rotary(checkpoint::WeightLoader& loader, const RopeConfig& rope, std::int64_t rotary_dim,
               std::int64_t num_positions) {
  const tensor::Shape shape{num_positions, rotary_dim};
  if (loader.mode() == checkpoint::WeightLoader::Mode::count) {
    cos_sin_ = loader.upload({nullptr, DType::float32, shape});
    return;
  }
  const tensor::Tensor table(shape, DType::float32);
  fill_table(rope, table);
  cos_sin_ = loader.upload(table);
}

}  // namespace trireme::layers
