#include "models/memory_plan.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace trireme::models {
namespace {

const std::string kGoldens = std::string(TRIREME_TEST_DATA) + "/goldens/";

TEST(BlocksPerSequence, CountsAWholeSequenceOrAWindowWithItsChunk) {
  EXPECT_EQ(blocks_per_sequence(0, 100, 32, 16), 7);
  EXPECT_EQ(blocks_per_sequence(0, 96, 32, 16), 6);
  // 15 before the chunk's first token and 32 of the chunk: 47 tokens lie in at most 4 blocks.
  EXPECT_EQ(blocks_per_sequence(16, 1000, 32, 16), 4);
  EXPECT_EQ(blocks_per_sequence(16, 40, 32, 16), 3);
  EXPECT_EQ(blocks_per_sequence(1, 1000, 1, 16), 1);
}

TEST(KvBytesPerSequence, AddsTheGroupsOfAStage) {
  layers::KvSpec spec;
  spec.num_kv_heads = 2;
  spec.head_dim = 8;
  spec.groups = {{.window = 0, .layers = {0, 2}}, {.window = 16, .layers = {1}}};

  const std::int64_t token_bytes = 2 * 2 * 8 * 4;
  EXPECT_EQ(kv_bytes_per_sequence(spec, 100, 32, 16, DType::float32),
            token_bytes * 16 * (2 * 7 + 4));
}

TEST(KvBytesPerSequence, DoesNotOverflow) {
  layers::KvSpec spec;
  spec.num_kv_heads = 1 << 16;
  spec.head_dim = 1 << 12;
  spec.groups = {{.window = 0, .layers = std::vector<int>(4096)}};

  EXPECT_EQ(kv_bytes_per_sequence(spec, std::int64_t{1} << 30, 1 << 30, 16, DType::float32),
            std::int64_t{1} << 60);
}

/// A golden checkpoint with limits that a resolved configuration would have.
class MemoryPlanTest : public testing::Test {
 protected:
  explicit MemoryPlanTest(const std::string& family = "llama")
      : checkpoint_(checkpoint::Checkpoint::open(kGoldens + family)),
        model_(checkpoint::load_model_config(kGoldens + family)) {
    config_.device = "cpu";
    config_.dtype = "float32";
    config_.limits.max_num_tokens = 64;
    config_.limits.max_batch_size = 8;
    config_.kv_cache.tokens_per_block = 16;
    config_.kv_cache.host_memory_bytes = 1 << 20;
    config_.moe.max_num_tokens = 128;
  }
  MemoryInputs inputs(const topology::Sizes& sizes = {}, std::int64_t device_memory = 0) const {
    return {checkpoint_, model_, config_, sizes, nullptr, device_memory};
  }

  checkpoint::Checkpoint checkpoint_;
  checkpoint::ModelConfig model_;
  config::RunConfig config_;
};

TEST_F(MemoryPlanTest, CountsTheBytesOfTheStoredWeights) {
  std::int64_t expected = 512 * 16 * 4;  // the rotary table
  for (const auto& [name, stored] : checkpoint_.tensors()) {
    const bool is_norm = name.ends_with("norm.weight");  // kept as float32
    expected += static_cast<std::int64_t>(stored.size_bytes) * (is_norm ? 2 : 1);
  }

  EXPECT_EQ(plan_memory(inputs(), {}).weight_bytes, expected);
}

TEST_F(MemoryPlanTest, SplitsWeightsOverRanksAndStages) {
  const std::int64_t whole = plan_memory(inputs(), {}).weight_bytes;

  const std::int64_t half = plan_memory(inputs({.tp = 2, .moe_tp = 2}), {}).weight_bytes;
  const std::int64_t stage = plan_memory(inputs({.pp = 2}), {.pp = 1}).weight_bytes;

  EXPECT_LT(half, whole * 6 / 10);
  EXPECT_GT(half, whole * 5 / 10);
  EXPECT_LT(stage, whole * 7 / 10);
}

TEST_F(MemoryPlanTest, NamesTheLongestSequenceThatFits) {
  // A token of 4 layers has 4 · 2 · 4 · 16 · 4 = 2048 bytes: 1 MiB holds 512, half of it 256.
  EXPECT_EQ(plan_memory(inputs(), {}).kv_bytes_per_sequence, 512 * 2048);
  EXPECT_TRUE(check_memory(inputs()).empty());
  config_.kv_cache.host_memory_bytes = 256 * 2048 + 100;

  const auto faults = check_memory(inputs());

  ASSERT_EQ(faults.size(), 1U);
  TRIREME_EXPECT_CONTAINS(faults[0].message,
                          "max_seq_len is 512, expected at most 256: a sequence needs "
                          "1 MiB of KV memory, and there are 512 KiB");
  config_.limits.max_seq_len = 256;
  EXPECT_TRUE(check_memory(inputs()).empty());
}

TEST_F(MemoryPlanTest, SaysThatKvMemoryIsTooSmallForAnySequence) {
  config_.kv_cache.host_memory_bytes = 1;

  const auto faults = check_memory(inputs());

  ASSERT_EQ(faults.size(), 1U);
  TRIREME_EXPECT_CONTAINS(faults[0].message,
                          "the KV memory is 1 bytes, too small for any sequence: a sequence of "
                          "max_seq_len, which is 512, needs 1 MiB; raise "
                          "kv_cache_config.host_memory_bytes");
}

TEST_F(MemoryPlanTest, RefusesMoreThanTheDeviceHas) {
  const std::int64_t total = plan_memory(inputs(), {}).total_bytes();

  EXPECT_TRUE(check_memory(inputs({}, total)).empty());
  const auto faults = check_memory(inputs({}, total - 1));
  ASSERT_EQ(faults.size(), 1U);
  TRIREME_EXPECT_CONTAINS(faults[0].message,
                          "a rank needs 3 MiB (weights 1.6 MiB, KV 1 MiB, workspace 360 KiB), "
                          "expected at most its memory of 2.9 MiB");
}

TEST_F(MemoryPlanTest, TakesTheFractionOfADevicesMemoryForKv) {
  config_.device = "cuda";
  config_.kv_cache.free_gpu_memory_fraction = 0.5;
  const MemoryPlan plan = plan_memory(inputs({}, 1 << 30), {});

  EXPECT_EQ(plan.kv_bytes, ((1 << 30) - plan.weight_bytes - plan.workspace_bytes) / 2);
}

class MoeMemoryPlanTest : public MemoryPlanTest {
 protected:
  MoeMemoryPlanTest() : MemoryPlanTest("qwen3_moe") {}
};

TEST_F(MoeMemoryPlanTest, SplitsOnlyTheExpertsUnderAttentionDp) {
  std::int64_t experts = 0;
  for (const auto& [name, stored] : checkpoint_.tensors()) {
    if (name.find(".experts.") != std::string::npos) {
      experts += static_cast<std::int64_t>(stored.size_bytes);
    }
  }
  const std::int64_t whole = plan_memory(inputs(), {}).weight_bytes;

  const topology::Sizes hybrid{.tp = 4, .moe_tp = 2, .moe_ep = 2, .attention_dp = true};
  const std::int64_t quarter =
      plan_memory(inputs(hybrid), {.tp = 3, .moe_tp = 1, .moe_ep = 1}).weight_bytes;

  EXPECT_EQ(whole - quarter, experts * 3 / 4);
}

}  // namespace
}  // namespace trireme::models
