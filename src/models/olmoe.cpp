#include "models/families.h"

namespace trireme::models {

DecoderDesign olmoe(const checkpoint::ModelConfig& config) {
  refuse_key(config, "clip_qkv");
  DecoderDesign design{.config = config,
                       .qk_norm = layers::QkNorm::all_heads,
                       .qkv_bias = config.attention_bias,
                       .output_bias = config.attention_bias,
                       .expert_names = {}};
  if (!is_given(config, "rms_norm_eps")) design.config.rms_norm_eps = 1e-5;
  return design;
}

}  // namespace trireme::models
