#include "layers/expert_slots.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/mix.h"

namespace trireme::layers {
namespace {

constexpr int kLayer = 3;

eplb::Placement placement_of(std::vector<std::int32_t> expert_of_slot,
                             std::vector<std::int32_t> slot_weights = {}) {
  eplb::Placement placement;
  placement.num_slots = static_cast<std::int64_t>(expert_of_slot.size());
  placement.layers = {{kLayer, std::move(expert_of_slot), std::move(slot_weights)}};
  return placement;
}

/// How many of many tokens that choose `expert` go to each slot of the job.
std::vector<int> tokens_by_slot(const ExpertSlots& slots, std::int32_t expert, int num_slots,
                                int slots_of_rank, bool are_own, int num_tokens = 20000) {
  std::vector<std::uint64_t> keys(static_cast<std::size_t>(num_tokens));
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = splitmix64(i);
  const std::vector<std::int32_t> ids(keys.size(), expert);
  std::vector<comm::ExpertTarget> targets(keys.size());
  if (are_own) {
    slots.targets_of_own(ids, keys, targets);
  } else {
    slots.targets_of_shared(ids, keys, targets);
  }
  std::vector<int> counts(static_cast<std::size_t>(num_slots));
  for (const auto& target : targets) {
    ++counts[static_cast<std::size_t>(target.moe_ep_rank * slots_of_rank + target.local_slot)];
  }
  return counts;
}

TEST(ExpertSlots, GiveEachEpRankAContiguousRangeWithoutAPlacement) {
  const ExpertSlots slots(kLayer, 8, {.moe_ep_size = 4, .moe_ep_rank = 2}, {});
  const std::vector<std::int32_t> ids = {0, 4, 5, 7};
  const std::vector<std::uint64_t> keys = {9};
  std::vector<comm::ExpertTarget> targets(4);
  std::vector<std::int32_t> local(4);

  slots.targets_of_shared(ids, keys, targets);
  slots.local_slots(targets, local);

  EXPECT_EQ(std::vector<std::int32_t>(slots.local_experts().begin(), slots.local_experts().end()),
            std::vector<std::int32_t>({4, 5}));
  EXPECT_EQ(local, std::vector<std::int32_t>({-1, 0, 1, -1}));
  EXPECT_EQ(targets[0].moe_ep_rank, 0);
  EXPECT_EQ(targets[3].moe_ep_rank, 3);
  EXPECT_EQ(targets[3].local_slot, 1);
}

TEST(ExpertSlots, HoldWhatThePlacementSays) {
  const eplb::Placement placement = placement_of({2, 0, 1, 2, 3, 2});
  for (int rank = 0; rank < 3; ++rank) {
    const ExpertSlots slots(kLayer, 4, {.moe_ep_size = 3, .moe_ep_rank = rank}, {&placement, {}});

    const auto begin = placement.layers[0].expert_of_slot.begin() + 2 * rank;
    EXPECT_EQ(std::vector<std::int32_t>(slots.local_experts().begin(), slots.local_experts().end()),
              std::vector<std::int32_t>(begin, begin + 2));
  }
}

TEST(ExpertSlots, ShareAnExpertsTokensEvenly) {
  const eplb::Placement placement = placement_of({2, 0, 1, 2, 3, 2});
  const ExpertSlots slots(kLayer, 4, {.moe_ep_size = 3, .moe_ep_rank = 1}, {&placement, {}});

  const std::vector<int> counts = tokens_by_slot(slots, 2, 6, 2, false);

  EXPECT_NEAR(counts[0], 6667, 250);
  EXPECT_NEAR(counts[3], 6667, 250);
  EXPECT_NEAR(counts[5], 6667, 250);
  EXPECT_EQ(counts[1] + counts[2] + counts[4], 0);
}

TEST(ExpertSlots, ShareByTheWeightsOfTheSlots) {
  const eplb::Placement placement = placement_of({2, 0, 1, 2, 3, 2}, {1, 5, 5, 2, 5, 1});
  const ExpertSlots slots(kLayer, 4, {.moe_ep_size = 3, .moe_ep_rank = 1}, {&placement, {}});

  const std::vector<int> counts = tokens_by_slot(slots, 2, 6, 2, false);

  EXPECT_NEAR(counts[0], 5000, 250);
  EXPECT_NEAR(counts[3], 10000, 300);
  EXPECT_NEAR(counts[5], 5000, 250);
}

TEST(ExpertSlots, AllRanksChooseAlikeForTokensThatTheyShare) {
  eplb::Placement placement = placement_of({2, 0, 1, 2, 3, 2});
  placement.replica_choice = eplb::ReplicaChoice::home;
  const ExpertSlots first(kLayer, 4, {.moe_ep_size = 3, .moe_ep_rank = 0}, {&placement, {}});
  const ExpertSlots last(kLayer, 4, {.moe_ep_size = 3, .moe_ep_rank = 2}, {&placement, {}});

  EXPECT_EQ(tokens_by_slot(first, 2, 6, 2, false), tokens_by_slot(last, 2, 6, 2, false));
}

TEST(ExpertSlots, PreferTheHomeRankThenItsNode) {
  eplb::Placement placement = placement_of({2, 0, 1, 2, 3, 2, 0, 1});
  placement.replica_choice = eplb::ReplicaChoice::home;
  const auto on_rank = [&](int rank) {
    return ExpertSlots(kLayer, 4, {.moe_ep_size = 4, .moe_ep_rank = rank},
                       {&placement, {0, 0, 1, 1}});
  };

  EXPECT_EQ(tokens_by_slot(on_rank(0), 2, 8, 2, true)[0], 20000);  // its own
  const std::vector<int> from_3 = tokens_by_slot(on_rank(3), 2, 8, 2, true);
  EXPECT_EQ(from_3[5], 20000);  // the only one on its node
  const std::vector<int> from_2 = tokens_by_slot(on_rank(2), 1, 8, 2, true);
  EXPECT_EQ(from_2[7], 20000);
  const std::vector<int> far = tokens_by_slot(on_rank(1), 3, 8, 2, true);
  EXPECT_EQ(far[4], 20000);  // the only one at all
}

TEST(ExpertSlots, DifferentLayersAndExpertsChooseIndependently) {
  eplb::Placement placement = placement_of({0, 1, 0, 1});
  placement.layers.push_back({kLayer + 1, {0, 1, 0, 1}, {}});
  const layers::Shard shard{.moe_ep_size = 2, .moe_ep_rank = 0};
  const ExpertSlots one(kLayer, 2, shard, {&placement, {}});
  const ExpertSlots other(kLayer + 1, 2, shard, {&placement, {}});
  int num_equal_experts = 0, num_equal_layers = 0;
  for (std::uint64_t token = 0; token < 4000; ++token) {
    const std::vector<std::uint64_t> key = {splitmix64(token)};
    const std::vector<std::int32_t> ids = {0, 1};
    std::vector<comm::ExpertTarget> a(2), b(2);
    one.targets_of_shared(ids, key, a);
    other.targets_of_shared(ids, key, b);
    num_equal_experts += a[0].moe_ep_rank == a[1].moe_ep_rank;
    num_equal_layers += a[0].moe_ep_rank == b[0].moe_ep_rank;
  }

  EXPECT_NEAR(num_equal_experts, 2000, 200);
  EXPECT_NEAR(num_equal_layers, 2000, 200);
}

TEST(ExpertSlots, RefusePlacementsThatDoNotFit) {
  const eplb::Placement no_slot = placement_of({0, 1, 2, 2}),
                        out_of_range = placement_of({0, 1, 2, 4}),
                        uneven = placement_of({0, 1, 2, 3, 0});
  const layers::Shard shard{.moe_ep_size = 2, .moe_ep_rank = 0};

  EXPECT_THROW(ExpertSlots(kLayer, 4, shard, {&no_slot, {}}), Error);
  EXPECT_THROW(ExpertSlots(kLayer, 4, shard, {&out_of_range, {}}), Error);
  EXPECT_THROW(ExpertSlots(kLayer, 4, shard, {&uneven, {}}), Error);
  EXPECT_THROW(ExpertSlots(kLayer + 1, 4, shard, {&no_slot, {}}), Error);
}

}  // namespace
}  // namespace trireme::layers
