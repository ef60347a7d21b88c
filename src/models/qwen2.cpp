#include "models/families.h"

namespace trireme::models {

DecoderDesign qwen2(const checkpoint::ModelConfig& config) {
  return {.config = config, .qkv_bias = true, .expert_names = {}};
}

}  // namespace trireme::models
