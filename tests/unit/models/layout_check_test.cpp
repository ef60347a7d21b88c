#include "models/layout_check.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace trireme::models {
namespace {

checkpoint::ModelConfig dense_model() {
  checkpoint::ModelConfig model;
  model.architecture = "LlamaForCausalLM";
  model.num_layers = 4;
  model.num_heads = 12;
  model.num_kv_heads = 4;
  model.intermediate_size = 36;
  model.max_positions = 128;
  model.layer_is_moe.assign(4, false);
  return model;
}

checkpoint::ModelConfig moe_model() {
  checkpoint::ModelConfig model = dense_model();
  model.num_experts = 6;
  model.moe_intermediate_size = 9;
  model.layer_is_moe.assign(4, true);
  return model;
}

std::string faults(const checkpoint::ModelConfig& model, const topology::Sizes& sizes,
                   const config::RunConfig& config = {}) {
  std::string text;
  for (const config::Fault& fault : check_layout(model, config, sizes))
    text += fault.message + "\n";
  return text;
}

TEST(CheckLayout, AcceptsWhatFits) {
  EXPECT_EQ(faults(dense_model(), {.tp = 2, .pp = 2, .dp = 2, .moe_tp = 2}), "");
  EXPECT_EQ(faults(dense_model(), {.tp = 12, .moe_tp = 12}), "");  // KV heads three times each
  EXPECT_EQ(faults(moe_model(), {.tp = 6, .moe_tp = 3, .moe_ep = 2, .attention_dp = true}), "");
}

TEST(CheckLayout, RefusesHeadsThatDoNotDivide) {
  EXPECT_EQ(
      faults(dense_model(), {.tp = 9, .moe_tp = 9}),
      "tensor_parallel_size is 9, expected a divisor of the model's num_attention_heads, which "
      "is 12\n"
      "tensor_parallel_size is 9, expected a divisor or a multiple of the model's "
      "num_key_value_heads, which is 4\n");
  EXPECT_EQ(faults(dense_model(), {.tp = 6, .moe_tp = 6}),
            "tensor_parallel_size is 6, expected a divisor or a multiple of the model's "
            "num_key_value_heads, which is 4\n");
}

TEST(CheckLayout, AsksNoHeadsOrDenseSizesUnderAttentionDp) {
  EXPECT_EQ(faults(dense_model(), {.tp = 7, .moe_tp = 7, .attention_dp = true}), "");
}

TEST(CheckLayout, RefusesShardsThatDoNotDivide) {
  checkpoint::ModelConfig model = dense_model();
  model.intermediate_size = 35;
  TRIREME_EXPECT_CONTAINS(faults(model, {.tp = 2, .moe_tp = 2}),
                          "tensor_parallel_size is 2, expected a divisor of the model's "
                          "intermediate_size, which is 35");
  TRIREME_EXPECT_CONTAINS(faults(moe_model(), {.tp = 2, .moe_tp = 2}),
                          "moe_tensor_parallel_size is 2, expected a divisor of the model's "
                          "moe_intermediate_size, which is 9");
}

TEST(CheckLayout, RefusesExpertsThatDoNotDivide) {
  TRIREME_EXPECT_CONTAINS(faults(moe_model(), {.tp = 4, .moe_tp = 1, .moe_ep = 4}),
                          "moe_expert_parallel_size is 4, expected a divisor of the model's "
                          "num_experts, which is 6");
}

TEST(CheckLayout, RefusesExpertSizesForAModelWithoutExperts) {
  TRIREME_EXPECT_CONTAINS(
      faults(dense_model(), {.tp = 2, .moe_tp = 1, .moe_ep = 2}),
      "moe_expert_parallel_size is 2, expected 1 or none, since LlamaForCausalLM has no experts");
  config::ParallelSizes given;
  given.moe_tensor_parallel_size = 2;
  const auto of_given = check_layout(dense_model(), {}, {.tp = 2, .moe_tp = 2}, &given);
  ASSERT_EQ(of_given.size(), 1U);
  TRIREME_EXPECT_CONTAINS(of_given[0].message, "moe_tensor_parallel_size is 2");
}

TEST(CheckLayout, RefusesMoreStagesThanLayers) {
  TRIREME_EXPECT_CONTAINS(faults(dense_model(), {.pp = 5}),
                          "pipeline_parallel_size is 5, expected at most the model's "
                          "num_hidden_layers, which is 4");
}

TEST(CheckLayout, RefusesPipelineLayersOfAnotherSumOrEmptyStages) {
  for (const std::vector<std::int64_t>& layers :
       {std::vector<std::int64_t>{2, 1}, {4, 0}, {5, -1}, {2, 1, 1}, {INT64_MAX, INT64_MAX}}) {
    config::RunConfig config;
    config.parallel.pipeline_layers = layers;
    TRIREME_EXPECT_CONTAINS(faults(dense_model(), {.pp = 2}, config),
                            "expected 2 numbers from 1 on with the sum 4");
  }
  config::RunConfig config;
  config.parallel.pipeline_layers = {1, 3};
  EXPECT_EQ(faults(dense_model(), {.pp = 2}, config), "");
}

TEST(CheckLayout, RefusesLengthsBeyondTheModelsPositions) {
  config::RunConfig config;
  config.limits.max_seq_len = 129;
  TRIREME_EXPECT_CONTAINS(faults(dense_model(), {}, config),
                          "max_seq_len is 129, expected 2 to 128, the model's positions");
  config.limits.max_seq_len = 1;
  TRIREME_EXPECT_CONTAINS(faults(dense_model(), {}, config), "max_seq_len is 1");
}

TEST(CheckLayout, RefusesStepsShorterThanAPromptThatMayNotBeCut) {
  config::RunConfig config;
  config.limits.enable_chunked_prefill = false;
  config.limits.max_num_tokens = 127;

  TRIREME_EXPECT_CONTAINS(faults(dense_model(), {}, config),
                          "max_num_tokens is 127, expected at least max_seq_len, which is 128");
}

}  // namespace
}  // namespace trireme::models
