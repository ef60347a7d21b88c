#include "models/families.h"

namespace trireme::models {

DecoderDesign llama(const checkpoint::ModelConfig& config) {
  refuse_key(config, "mlp_bias");
  return {.config = config,
          .qkv_bias = config.attention_bias,
          .output_bias = config.attention_bias,
          .expert_names = {}};
}

}  // namespace trireme::models
