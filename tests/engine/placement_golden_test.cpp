// A placement of experts changes where they are computed, never what comes out.

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <set>

#include "base/clock.h"
#include "engine_runner.h"
#include "golden_requests.h"
#include "tests/support/rank_layouts.h"

namespace trireme::test {
namespace {

/// Every expert once, the other slots at random, all shuffled; weights and homes in half of them.
eplb::Placement random_placement(const checkpoint::ModelConfig& model, int ep_size,
                                 std::mt19937& random) {
  const auto num_experts = static_cast<std::int32_t>(model.num_experts);
  const std::int32_t least = (num_experts + ep_size - 1) / ep_size;
  const std::int32_t slots_of_rank = least + static_cast<std::int32_t>(random() % 4);
  eplb::Placement placement;
  placement.num_slots = slots_of_rank * ep_size;
  placement.ep_size = ep_size;
  if (random() % 2 == 0) placement.replica_choice = eplb::ReplicaChoice::home;
  const bool has_weights = random() % 2 == 0;
  for (std::int32_t layer = 0; layer < model.num_layers; ++layer) {
    if (!model.layer_is_moe[static_cast<std::size_t>(layer)]) continue;
    eplb::LayerPlacement placed{layer, {}, {}};
    for (std::int32_t slot = 0; slot < placement.num_slots; ++slot) {
      const auto any = static_cast<std::int32_t>(random() % static_cast<unsigned>(num_experts));
      placed.expert_of_slot.push_back(slot < num_experts ? slot : any);
      if (has_weights) placed.slot_weights.push_back(1 + static_cast<std::int32_t>(random() % 9));
    }
    std::shuffle(placed.expert_of_slot.begin(), placed.expert_of_slot.end(), random);
    placement.layers.push_back(std::move(placed));
  }
  return placement;
}

class PlacementGolden : public testing::TestWithParam<const char*> {};

TEST_P(PlacementGolden, GivesTheReferenceTokensOnEveryLayout) {
  const comm::MpiComm world = comm::MpiComm::world();
  const std::string model_dir = kGoldens + GetParam();
  const Golden golden = read_golden(model_dir + "/golden.h5");
  const checkpoint::ModelConfig model = checkpoint::load_model_config(model_dir);
  const double begin = monotonic_seconds();
  std::mt19937 random(static_cast<unsigned>(world.size()));
  const auto layouts = rank_layouts(world.size(), model);
  std::map<std::pair<std::int32_t, std::int64_t>, std::int64_t> expected_counts;
  std::int64_t num_replicas = 0;

  for (const topology::Sizes& sizes : layouts) {
    SCOPED_TRACE(layout_name(sizes));
    const eplb::Placement placement = random_placement(model, sizes.moe_ep, random);
    std::vector<std::int32_t> nodes;
    for (int rank = 0; rank < sizes.moe_ep; ++rank) nodes.push_back(2 * rank / sizes.moe_ep);
    num_replicas += placement.num_slots - model.num_experts;

    const EngineOutcome outcome = run_engines(world,
                                              {.model_dir = model_dir,
                                               .sizes = sizes,
                                               .pipeline_layers = {},
                                               .enable_reuse = false,
                                               .eos_token_ids = {},
                                               .experts = {&placement, nodes}},
                                              requests_of(golden));

    EXPECT_EQ(outcome.rows.size(), golden.prompts.size());
    for (const auto& [key, row] : outcome.rows) {
      EXPECT_EQ(row.error, "");
      EXPECT_EQ(row.tokens, golden.greedy_tokens[static_cast<std::size_t>(key.first)])
          << "row " << key.first;
    }
    // Experts are counted, not slots.
    if (expected_counts.empty()) expected_counts = outcome.by_expert;
    EXPECT_EQ(outcome.by_expert, expected_counts);
  }

  EXPECT_GT(num_replicas, 0);
  if (world.rank() == 0) {
    std::cout << GetParam() << ": " << layouts.size() << " layouts of " << world.size()
              << " rank(s), " << num_replicas << " replicas, " << monotonic_seconds() - begin
              << " s\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Families, PlacementGolden,
                         testing::Values("mixtral", "qwen3_moe", "olmoe"),
                         [](const auto& family) { return std::string(family.param); });

}  // namespace
}  // namespace trireme::test
