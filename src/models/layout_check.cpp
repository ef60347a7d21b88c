#include "models/layout_check.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

#include "base/error.h"

namespace trireme::models {
namespace {

/// Collects faults whose messages read "KEY is VALUE, expected ...".
class Check {
 public:
  Check(const checkpoint::ModelConfig& model, const config::RunConfig& config,
        const topology::Sizes& sizes)
      : model_(model), config_(config), sizes_(sizes) {}

  std::vector<config::Fault> run(const config::ParallelSizes& moe_given) {
    if (!sizes_.attention_dp) heads();
    sharded_sizes();
    experts(moe_given);
    stages();
    lengths();
    return std::move(faults_);
  }

 private:
  void rule(bool holds, const char* key, std::int64_t value, const std::string& expected) {
    if (!holds) faults_.push_back({{key}, cat(key, " is ", value, ", expected ", expected)});
  }

  /// An extent of the model that a size must divide.
  void divides(const char* key, std::int64_t size, const char* extent_name, std::int64_t extent) {
    rule(extent % size == 0, key, size,
         cat("a divisor of the model's ", extent_name, ", which is ", extent));
  }

  /// Rules 4 and 5.
  void heads() {
    divides("tensor_parallel_size", sizes_.tp, "num_attention_heads", model_.num_heads);
    rule(model_.num_kv_heads % sizes_.tp == 0 || sizes_.tp % model_.num_kv_heads == 0,
         "tensor_parallel_size", sizes_.tp,
         cat("a divisor or a multiple of the model's num_key_value_heads, which is ",
             model_.num_kv_heads));
  }

  /// Rule 6.
  void sharded_sizes() {
    const bool has_dense =
        std::ranges::find(model_.layer_is_moe, false) != model_.layer_is_moe.end();
    if (has_dense && !sizes_.attention_dp) {
      divides("tensor_parallel_size", sizes_.tp, "intermediate_size", model_.intermediate_size);
    }
    if (model_.num_experts > 0) {
      divides("moe_tensor_parallel_size", sizes_.moe_tp, "moe_intermediate_size",
              model_.moe_intermediate_size);
    }
  }

  /// Rules 7 and 8.
  void experts(const config::ParallelSizes& given) {
    if (model_.num_experts > 0) {
      // With a placement the slots are divided, which its own rules check.
      if (config_.moe.load_balancer.empty() && config_.moe.load_balancer_text.empty()) {
        divides("moe_expert_parallel_size", sizes_.moe_ep, "num_experts", model_.num_experts);
      }
      return;
    }
    const std::string expected = cat("1 or none, since ", model_.architecture, " has no experts");
    rule(given.moe_expert_parallel_size <= 1, "moe_expert_parallel_size",
         given.moe_expert_parallel_size, expected);
    rule(given.moe_tensor_parallel_size <= 1, "moe_tensor_parallel_size",
         given.moe_tensor_parallel_size, expected);
  }

  /// Rule 9.
  void stages() {
    rule(sizes_.pp <= model_.num_layers, "pipeline_parallel_size", sizes_.pp,
         cat("at most the model's num_hidden_layers, which is ", model_.num_layers));
    const std::vector<std::int64_t>& layers = config_.parallel.pipeline_layers;
    if (layers.empty()) return;
    std::string text;
    std::int64_t sum = 0;
    bool in_range = true;
    for (const std::int64_t count : layers) {
      text += cat(text.empty() ? "[" : ", ", count);
      in_range = in_range && count >= 1 && count <= model_.num_layers;
      sum += in_range ? count : 0;
    }
    if (in_range && sum == model_.num_layers && static_cast<int>(layers.size()) == sizes_.pp)
      return;
    faults_.push_back({{"pipeline_layers", "pipeline_parallel_size"},
                       cat("pipeline_layers is ", text, "], expected ", sizes_.pp,
                           " numbers from 1 on with the sum ", model_.num_layers,
                           " (the model's num_hidden_layers)")});
  }

  /// Rule 11, with the model's positions.
  void lengths() {
    const std::int64_t length = max_seq_len_of(model_, config_);
    rule(length >= 2 && length <= model_.max_positions, "max_seq_len", length,
         cat("2 to ", model_.max_positions, ", the model's positions"));
    const config::EngineLimits& limits = config_.limits;
    rule(limits.enable_chunked_prefill || limits.max_num_tokens >= length, "max_num_tokens",
         limits.max_num_tokens,
         cat("at least max_seq_len, which is ", length, ", while enable_chunked_prefill is false"));
  }

  const checkpoint::ModelConfig& model_;
  const config::RunConfig& config_;
  const topology::Sizes& sizes_;
  std::vector<config::Fault> faults_;
};

/// What a user must have given for these resolved sizes: moe_tp alone is what none given becomes.
config::ParallelSizes least_given(const topology::Sizes& sizes) {
  config::ParallelSizes given;
  if (sizes.moe_ep > 1) given.moe_expert_parallel_size = sizes.moe_ep;
  return given;
}

}  // namespace

std::int64_t max_seq_len_of(const checkpoint::ModelConfig& model, const config::RunConfig& config) {
  return config.limits.max_seq_len == 0 ? model.max_positions : config.limits.max_seq_len;
}

std::vector<config::Fault> check_layout(const checkpoint::ModelConfig& model,
                                        const config::RunConfig& config,
                                        const topology::Sizes& sizes,
                                        const config::ParallelSizes* given) {
  return Check(model, config, sizes).run(given == nullptr ? least_given(sizes) : *given);
}

}  // namespace trireme::models
