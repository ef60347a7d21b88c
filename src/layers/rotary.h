#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/model_config.h"
#include "checkpoint/weight_loader.h"
#include "layers/forward_batch.h"
#include "ops/context.h"

namespace trireme::layers {

/// Angle per position of each pair of elements, and the factor that goes onto cosine and sine
/// (yarn).
struct RotaryFrequencies {
  std::vector<float> inverse;  ///< [rotary_dim / 2]
  double attention_factor = 1;
};

/// Rope types default, linear, llama3 and yarn. Sources: Su et al. 2021 (RoPE); Chen et al. 2023
/// (linear); Llama 3.1 model card (llama3); Peng et al. 2023 (YaRN), with DeepSeek's mscale.
RotaryFrequencies rotary_frequencies(const checkpoint::RopeConfig& rope, std::int64_t rotary_dim);

/// The table of cosines and sines, one for all layers of a model.
class Rotary {
 public:
  Rotary(checkpoint::WeightLoader& loader, const checkpoint::RopeConfig& rope,
         std::int64_t rotary_dim, std::int64_t num_positions);

  /// [num_positions, rotary_dim]: cosines, then sines.
  const TensorView& cos_sin() const { return cos_sin_.view(); }

 private:
  tensor::Tensor cos_sin_;  // [num_positions, rotary_dim]: cosines, then sines
};

}  // namespace trireme::layers
