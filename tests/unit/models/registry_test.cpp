#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "models/model.h"
#include "tests/support/refusal.h"

namespace trireme::models {
namespace {

const std::string kGoldens = std::string(TRIREME_TEST_DATA) + "/goldens/";

/// Builds a golden model whose configuration was changed; returns the refusal.
template <typename Change>
std::string refusal_of(const std::string& family, const Change& change) {
  const std::string model_dir = kGoldens + family;
  checkpoint::ModelConfig config = checkpoint::load_model_config(model_dir);
  change(config);
  const checkpoint::Checkpoint files = checkpoint::Checkpoint::open(model_dir);
  checkpoint::WeightLoader loader(files, nullptr, {.mode = checkpoint::WeightLoader::Mode::count});
  const BuildOptions options{.sizes = {},
                             .coordinates = {},
                             .layers = {0, static_cast<int>(config.num_layers)},
                             .max_seq_len = 64};
  return test::refusal(ErrorKind::checkpoint, [&] { make_model(config, options, loader); });
}

using checkpoint::ModelConfig;

TEST(MakeModel, AcceptsTheGoldens) {
  for (const char* family :
       {"llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "olmoe"}) {
    EXPECT_EQ(refusal_of(family, [](ModelConfig&) {}), "accepted");
  }
}

TEST(MakeModel, NeedsNoFilesForSyntheticWeights) {
  using checkpoint::WeightLoader;
  for (const char* family :
       {"llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "olmoe"}) {
    const ModelConfig config = checkpoint::load_model_config(kGoldens + family);
    const BuildOptions options{.sizes = {},
                               .coordinates = {},
                               .layers = {0, static_cast<int>(config.num_layers)},
                               .max_seq_len = 64};
    WeightLoader counting({.mode = WeightLoader::Mode::count});
    WeightLoader loader({.mode = WeightLoader::Mode::synthetic});

    make_model(config, options, counting);
    const auto model = make_model(config, options, loader);

    EXPECT_GT(loader.load().bytes_kept, 0) << family;
    EXPECT_EQ(counting.allocated_bytes(), loader.allocated_bytes()) << family;
  }
}

TEST(MakeModel, NamesTheKnownArchitecturesForAnUnknownOne) {
  const std::string message =
      refusal_of("llama", [](ModelConfig& config) { config.architecture = "GPT2LMHeadModel"; });

  TRIREME_EXPECT_CONTAINS(message, "architectures is \"GPT2LMHeadModel\", expected one of ");
  TRIREME_EXPECT_CONTAINS(message, "LlamaForCausalLM");
  TRIREME_EXPECT_CONTAINS(message, "OlmoeForCausalLM");
}

TEST(MakeModel, RefusesWhatAFamilyAsksForAndIsNotThere) {
  TRIREME_EXPECT_CONTAINS(refusal_of("llama", [](ModelConfig& c) { c.raw["mlp_bias"] = true; }),
                          "mlp_bias is true");
  TRIREME_EXPECT_CONTAINS(refusal_of("olmoe", [](ModelConfig& c) { c.raw["clip_qkv"] = 8.0; }),
                          "clip_qkv is 8.0");
  TRIREME_EXPECT_CONTAINS(
      refusal_of("llama", [](ModelConfig& c) { c.raw["partial_rotary_factor"] = 0.5; }),
      "partial_rotary_factor is 0.5");
  TRIREME_EXPECT_CONTAINS(refusal_of("qwen3_moe", [](ModelConfig& c) { c.num_shared_experts = 1; }),
                          "n_shared_experts is 1");
}

TEST(MakeModel, NamesAMissingTensorAndAWrongShape) {
  TRIREME_EXPECT_CONTAINS(
      refusal_of("llama", [](ModelConfig& c) { c.architecture = "Qwen3ForCausalLM"; }),
      "tensor \"model.layers.0.self_attn.q_norm.weight\" is missing");
  TRIREME_EXPECT_CONTAINS(refusal_of("llama", [](ModelConfig& c) { c.intermediate_size = 400; }),
                          "tensor \"model.layers.0.mlp.gate_proj.weight\" has shape [352, 128], "
                          "expected [400, 128] from config.json");
}

TEST(KvSpec, HasTheSameGroupsOnEveryStage) {
  const std::string model_dir = kGoldens + "mistral";
  checkpoint::ModelConfig config = checkpoint::load_model_config(model_dir);
  config.layer_window = {48, 48, 0, 48};
  const checkpoint::Checkpoint files = checkpoint::Checkpoint::open(model_dir);
  checkpoint::WeightLoader loader(files, nullptr, {.mode = checkpoint::WeightLoader::Mode::count});

  const auto first = make_model(
      config, {.sizes = {.tp = 4, .pp = 2, .moe_tp = 4}, .layers = {0, 2}, .max_seq_len = 64},
      loader);
  const auto second = make_model(config,
                                 {.sizes = {.tp = 4, .pp = 2, .moe_tp = 4},
                                  .coordinates = {.pp = 1, .tp = 1},
                                  .layers = {2, 4},
                                  .max_seq_len = 64},
                                 loader);

  ASSERT_EQ(first->kv_spec().groups.size(), 2U);
  ASSERT_EQ(second->kv_spec().groups.size(), 2U);
  EXPECT_EQ(first->kv_spec().groups[0].window, 48);
  EXPECT_EQ(first->kv_spec().groups[0].layers, std::vector<int>({0, 1}));
  EXPECT_EQ(first->kv_spec().groups[0].num_layers_of_model, 3);
  EXPECT_TRUE(first->kv_spec().groups[1].layers.empty());
  EXPECT_EQ(second->kv_spec().groups[0].layers, std::vector<int>({1}));
  EXPECT_EQ(second->kv_spec().groups[1].layers, std::vector<int>({0}));
  EXPECT_EQ(first->kv_spec().num_kv_heads, 1);  // two heads on four ranks
  EXPECT_EQ(second->vocab_shard().begin, 128);
}

}  // namespace
}  // namespace trireme::models
