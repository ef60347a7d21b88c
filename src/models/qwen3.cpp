#include "models/families.h"

namespace trireme::models {

DecoderDesign qwen3(const checkpoint::ModelConfig& config) {
  return {.config = config,
          .qk_norm = layers::QkNorm::per_head,
          .qkv_bias = config.attention_bias,
          .output_bias = config.attention_bias,
          .expert_names = {}};
}

}  // namespace trireme::models
