#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/json.h"

namespace trireme::checkpoint {

/// Rotary embedding as config.json describes it; types default, linear, llama3, yarn.
struct RopeConfig {
  std::string type = "default";
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;                               ///< llama3
  double beta_fast = 32, beta_slow = 1;                                           ///< yarn
  std::optional<double> attention_factor = {}, mscale = {}, mscale_all_dim = {};  ///< yarn
  bool truncate = true;                                                           ///< yarn
  std::int64_t original_max_positions = 0;
};

/// A model as its config.json gives it, in every published spelling, as one set of names.
/// `raw` keeps the document for what a single family needs.
struct ModelConfig {
  std::string architecture;  ///< "Qwen3MoeForCausalLM", ...
  std::int64_t num_layers = 0, hidden_size = 0, vocab_size = 0;
  std::int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  std::int64_t intermediate_size = 0;
  double rms_norm_eps = 1e-6;
  std::int64_t max_positions = 0;   ///< after rope scaling
  std::int64_t sliding_window = 0;  ///< 0: none
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  DType dtype = DType::bfloat16;  ///< of the checkpoint, as config.json says
  RopeConfig rope;

  std::int64_t num_experts = 0;  ///< 0: no mixture of experts
  std::int64_t experts_per_token = 0;
  std::int64_t moe_intermediate_size = 0;
  std::int64_t num_shared_experts = 0;
  bool norm_topk_prob = true;

  /// Per layer: the attention window (0 = full) and whether its MLP is a mixture of experts.
  std::vector<std::int64_t> layer_window;
  std::vector<bool> layer_is_moe;

  std::vector<std::int32_t> eos_token_ids;  ///< of config.json and generation_config.json together
  Json generation = nullptr;                ///< generation_config.json, null if there is none
  Json raw;
  std::string model_dir;
};

/// Reads DIR/config.json and DIR/generation_config.json. Throws Error(missing) if config.json is not
/// there, Error(checkpoint) naming key and value for what is broken or unknown (rope type,
/// quantisation, activation; an architecture that is not among `known_architectures`, if any are
/// given, before its keys are looked at).
ModelConfig load_model_config(const std::string& model_dir,
                              std::span<const std::string_view> known_architectures = {});

}  // namespace trireme::checkpoint
