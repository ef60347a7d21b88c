#include "models/families.h"

namespace trireme::models {

DecoderDesign mixtral(const checkpoint::ModelConfig& config) {
  DecoderDesign design{.config = config,
                       .expert_names = {.router = "block_sparse_moe.gate.weight",
                                        .prefix = "block_sparse_moe.experts.",
                                        .gate = ".w1.weight",
                                        .up = ".w3.weight",
                                        .down = ".w2.weight"}};
  design.config.norm_topk_prob = true;
  if (!is_given(config, "rms_norm_eps")) design.config.rms_norm_eps = 1e-5;
  return design;
}

}  // namespace trireme::models
