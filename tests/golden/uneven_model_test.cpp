#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "golden_file.h"
#include "random_checkpoint.h"
#include "stage_runner.h"
#include "tests/support/rank_layouts.h"
#include "tests/support/temporary_directory.h"

namespace trireme::test {
namespace {

/// What the goldens' shapes leave out: a vocabulary that must be padded, KV heads held by several
/// ranks under a norm over all heads, dense layers between experts, two layer groups, several
/// stored types.
Json uneven_config(const char* architecture) {
  return parse_json(cat(R"({"architectures": [")", architecture, R"("], "hidden_size": 48,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8,
    "vocab_size": 509, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "num_experts": 12,
    "num_experts_per_tok": 3, "intermediate_size": 40, "moe_intermediate_size": 24,
    "rope_theta": 10000, "norm_topk_prob": true})"),
                    "config");
}

std::vector<std::int32_t> some_tokens() {
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < 70; ++i) tokens.push_back((i * 131 + 508) % 509);
  return tokens;
}

class UnevenModel : public testing::Test {
 protected:
  UnevenModel() {
    if (world_.rank() == 0) directory_.emplace();
    path_ = world_.broadcast(directory_ ? directory_->path() : "", 0);
  }
  ~UnevenModel() override { world_.barrier(); }

  void write(const Json& config,
             const std::function<std::string(const std::string&)>& dtype_of) const {
    if (world_.rank() == 0) write_random_checkpoint(path_, config, dtype_of);
    world_.barrier();
  }

  std::vector<std::vector<float>> alone() const {
    const comm::ProcessGroups none;
    StageRunner runner({.model_dir = path_}, none);
    return runner.step({{0, some_tokens(), 0, Chunk::Logits::of_all}});
  }

  /// Largest difference of every valid layout to one rank; every sequence group runs the same
  /// tokens.
  void expect_layouts_match() const {
    const std::vector<std::vector<float>> expected = alone();
    const auto layouts = rank_layouts(world_.size(), checkpoint::load_model_config(path_));
    EXPECT_GE(layouts.size(), 10U);
    for (const topology::Sizes& sizes : layouts) {
      const topology::Topology topology(sizes);
      const auto groups = comm::make_process_groups(world_.duplicate(), topology, "mpi");
      StageRunner runner({.model_dir = path_,
                          .sizes = sizes,
                          .coordinates = topology.coordinates(world_.rank()),
                          .moe_max_num_tokens = 100},
                         groups);
      const auto logits = runner.step({{0, some_tokens(), 0, Chunk::Logits::of_all}});
      const bool is_last = topology.coordinates(world_.rank()).pp == sizes.pp - 1;
      EXPECT_EQ(logits.size(), is_last ? expected.size() : 0U);
      EXPECT_LE(largest_difference(logits, expected), kGoldenTolerance) << layout_name(sizes);
    }
  }

  static float largest_difference(const std::vector<std::vector<float>>& actual,
                                  const std::vector<std::vector<float>>& expected) {
    float largest = 0;
    for (std::size_t row = 0; row < actual.size(); ++row) {
      for (std::size_t id = 0; id < expected[row].size(); ++id) {
        const float difference = std::abs(actual[row].at(id) - expected[row][id]);
        largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
      }
    }
    return largest;
  }

  const comm::MpiComm world_ = comm::MpiComm::world();
  std::optional<TemporaryDirectory> directory_;
  std::string path_;
};

TEST_F(UnevenModel, KvHeadsOfSeveralRanksUnderANormOverAllHeads) {
  write(uneven_config("OlmoeForCausalLM"), [](const std::string&) { return "BF16"; });

  expect_layouts_match();
}

TEST_F(UnevenModel, DenseLayersAndTwoLayerGroups) {
  Json config = uneven_config("Qwen3MoeForCausalLM");
  config["mlp_only_layers"] = {1, 2};
  config["sliding_window"] = 20;
  config["layer_types"] = {"full_attention", "sliding_attention", "sliding_attention",
                           "full_attention"};
  config["tie_word_embeddings"] = true;
  write(config, [](const std::string&) { return "F16"; });

  expect_layouts_match();
}

TEST_F(UnevenModel, StoredTypesMayDifferFromTensorToTensor) {
  const Json config = uneven_config("Qwen3MoeForCausalLM");
  write(config, [](const std::string&) { return "F32"; });
  const std::vector<std::vector<float>> expected = alone();
  world_.barrier();
  write(config, [](const std::string& name) {
    constexpr const char* kTypes[] = {"F32", "BF16", "F16"};
    return kTypes[std::hash<std::string>()(name) % 3];
  });

  EXPECT_LE(largest_difference(alone(), expected), kGoldenTolerance);
  expect_layouts_match();
}

}  // namespace
}  // namespace trireme::test
