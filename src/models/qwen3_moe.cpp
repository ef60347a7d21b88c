#include "models/families.h"

namespace trireme::models {

DecoderDesign qwen3_moe(const checkpoint::ModelConfig& config) { return qwen3(config); }

}  // namespace trireme::models
