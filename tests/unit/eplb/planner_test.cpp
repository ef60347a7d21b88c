#include "eplb/planner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "eplb/incremental.h"
#include "eplb/random.h"
#include "eplb/split_weights.h"

namespace trireme::eplb {
namespace {

/// Loads of one window with the layers' numbers 3, 4, ...
io::ExpertLoads loads_of(const std::vector<std::vector<std::int64_t>>& layers) {
  io::ExpertLoads loads;
  loads.num_experts = static_cast<std::int64_t>(layers.front().size());
  loads.window_seconds = {0};
  for (const auto& layer : layers) {
    loads.layer_index.push_back(static_cast<std::int32_t>(loads.layer_index.size()) + 3);
    loads.counts.insert(loads.counts.end(), layer.begin(), layer.end());
  }
  return loads;
}

io::ExpertLoads random_loads(std::int64_t layers, std::int64_t experts, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<std::int64_t>> counts(layers);
  for (auto& layer : counts) {
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      layer.push_back(random.below(random.below(4) == 0 ? 1000 : 100));
    }
  }
  return loads_of(counts);
}

PlanOptions options_of(std::int64_t num_slots, std::int64_t ep_size) {
  PlanOptions options;
  options.num_slots = num_slots;
  options.ep_size = ep_size;
  return options;
}

const std::vector<std::vector<std::int64_t>> kReadme{
    {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
    {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}};

std::string refusal(const io::ExpertLoads& loads, const PlanOptions& options, ErrorKind kind) {
  try {
    plan(loads, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "was not refused";
  return "";
}

TEST(Planner, PlansTheReadmeExampleAsPublished) {
  auto options = options_of(16, 8);
  options.method = Method::deepseek;
  options.num_nodes = 2;
  options.num_groups = 4;
  const Plan planned = plan(loads_of(kReadme), options);

  ASSERT_EQ(planned.placement.layers.size(), 2U);
  EXPECT_EQ(planned.placement.layers[0].layer, 3);
  EXPECT_EQ(planned.placement.layers[0].expert_of_slot,
            (std::vector<std::int32_t>{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(planned.placement.layers[1].expert_of_slot,
            (std::vector<std::int32_t>{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
  EXPECT_DOUBLE_EQ(planned.layers[0].facts.balance, planned.layers[0].facts.deepseek);
  EXPECT_EQ(planned.layers[0].most_replicas, 2);
  EXPECT_EQ(planned.layers[0].num_replicated, 4);
}

TEST(Planner, IsNeverAboveDeepSeekNorBelowTheBound) {
  struct Case {
    std::int64_t experts, slots, ranks;
  };
  for (const Case c : {Case{3, 6, 3},
                       {4, 6, 2},
                       {5, 12, 4},
                       {8, 8, 4},
                       {8, 12, 6},
                       {12, 16, 8},
                       {6, 16, 2},
                       {16, 24, 24},
                       {7, 35, 5}}) {
    const Plan planned = plan(random_loads(6, c.experts, 5), options_of(c.slots, c.ranks));
    for (const PlannedLayer& layer : planned.layers) {
      EXPECT_LE(layer.facts.balance, layer.facts.deepseek * (1 + 1e-9)) << c.experts;
      EXPECT_GE(layer.facts.balance, layer.facts.lower_bound * (1 - 1e-9)) << c.experts;
    }
  }
}

TEST(Planner, TakesDeepSeeksPlacementWhereOnlyDuplicatesReachIt) {
  // Four replicas of expert 0 on three ranks: 35 against 40 at best without a duplicate.
  const Plan planned = plan(loads_of({{60, 20, 20}}), options_of(6, 3));

  EXPECT_LE(planned.layers[0].facts.balance, planned.layers[0].facts.deepseek * (1 + 1e-9));
}

TEST(Planner, GivesTheSamePlanWithAnyNumberOfThreads) {
  const auto loads = random_loads(7, 24, 1);
  auto options = options_of(36, 12);
  const Plan alone = plan(loads, options);
  options.threads = 4;
  const Plan together = plan(loads, options);

  for (std::size_t layer = 0; layer < alone.placement.layers.size(); ++layer) {
    EXPECT_EQ(alone.placement.layers[layer].expert_of_slot,
              together.placement.layers[layer].expert_of_slot);
  }
}

TEST(Planner, ReportsProgressOfEveryLayer) {
  std::vector<std::int64_t> done;
  auto options = options_of(12, 4);
  options.threads = 2;
  options.progress = [&](std::int64_t num_done, std::int64_t num_layers) {
    EXPECT_EQ(num_layers, 5);
    done.push_back(num_done);
  };
  plan(random_loads(5, 8, 2), options);

  EXPECT_EQ(done, (std::vector<std::int64_t>{1, 2, 3, 4, 5}));
}

TEST(Planner, ChangesFewSlotsOfAPreviousPlacement) {
  auto options = options_of(40, 8);
  const Plan before = plan(random_loads(3, 32, 8), options);
  options.previous = &before.placement;
  options.max_moved = 0.1;
  const Plan after = plan(random_loads(3, 32, 9), options);

  for (std::size_t layer = 0; layer < 3; ++layer) {
    const auto changed = count_changed(before.placement.layers[layer].expert_of_slot,
                                       after.placement.layers[layer].expert_of_slot);
    EXPECT_LE(changed, 4);
    EXPECT_EQ(after.layers[layer].num_changed, changed);
  }
}

TEST(Planner, PlansForDomainsThenWindowsThenTheTotal) {
  auto loads = random_loads(2, 8, 3);
  EXPECT_EQ(plan(loads, options_of(12, 4)).objective, Objective::total);

  loads.window_seconds = {1, 1};
  loads.counts.insert(loads.counts.end(), loads.counts.rbegin(), loads.counts.rend());
  EXPECT_EQ(plan(loads, options_of(12, 4)).objective, Objective::windows);

  loads.domains = {"law", "code"};
  loads.by_domain = loads.counts;
  EXPECT_EQ(plan(loads, options_of(12, 4)).objective, Objective::domains);

  auto options = options_of(12, 4);
  options.objective = Objective::total;
  EXPECT_EQ(plan(loads, options).objective, Objective::total);
}

TEST(Planner, BalancesDomainsOneByOne) {
  // Each domain loads half of the experts, which must not share ranks.
  auto loads = loads_of({{10, 10, 10, 10, 10, 10, 10, 10}});
  loads.domains = {"law", "code"};
  loads.by_domain = {10, 10, 10, 10, 0, 0, 0, 0, 0, 0, 0, 0, 10, 10, 10, 10};
  const Plan planned = plan(loads, options_of(8, 4));

  EXPECT_NEAR(planned.layers[0].facts.balance, 1.0, 1e-9);
  EXPECT_NEAR(planned.layers[0].facts.balance_before, 2.0, 1e-9);
}

TEST(Planner, KeepsTokensOnFewNodes) {
  // Tokens choose two experts of the same parity.
  auto loads = loads_of({std::vector<std::int64_t>(8, 200)});
  Random random(6);
  loads.top_k = 2;
  for (int token = 0; token < 800; ++token) {
    const std::int32_t parity = random.below(2), first = random.below(4);
    for (const std::int32_t pick : {first, (first + 1 + random.below(3)) % 4}) {
      loads.choices.resize(1);
      loads.choices[0].push_back(static_cast<std::int16_t>(2 * pick + parity));
    }
    loads.choices_home.push_back(random.below(4));
  }
  auto options = options_of(8, 4);
  options.num_nodes = 2;
  const Plan planned = plan(loads, options);

  EXPECT_LE(planned.layers[0].remote_nodes, 0.6);
  EXPECT_LE(planned.layers[0].facts.balance, planned.layers[0].facts.deepseek * (1 + 1e-9));
}

TEST(Planner, RefusesSlotsThatDoNotFitTheLoads) {
  const auto loads = random_loads(1, 8, 0);

  EXPECT_NE(refusal(loads, options_of(7, 7), ErrorKind::config).find("below the number of experts"),
            std::string::npos);
  EXPECT_NE(refusal(loads, options_of(10, 4), ErrorKind::config).find("not divisible by --ep-size"),
            std::string::npos);
}

TEST(Planner, RefusesLoadsThatContradictThemselves) {
  auto negative = random_loads(2, 8, 0);
  negative.counts[11] = -4;
  EXPECT_NE(
      refusal(negative, options_of(8, 4), ErrorKind::input).find("-4 for expert 3 in layer 4"),
      std::string::npos);

  auto cut = random_loads(2, 8, 0);
  cut.counts.pop_back();
  EXPECT_NE(refusal(cut, options_of(8, 4), ErrorKind::input).find("15 values"), std::string::npos);

  auto choices = random_loads(1, 8, 0);
  choices.top_k = 1;
  choices.choices = {{8}};
  choices.choices_home = {0};
  EXPECT_NE(refusal(choices, options_of(8, 4), ErrorKind::input).find("expert 8"),
            std::string::npos);

  EXPECT_NE(refusal({}, options_of(8, 4), ErrorKind::input).find("nothing to plan"),
            std::string::npos);
}

TEST(Planner, RefusesAPreviousPlacementThatDoesNotFit) {
  auto options = options_of(8, 4);
  const auto loads = random_loads(1, 8, 0);
  Plan before = plan(loads, options);
  options.previous = &before.placement;

  before.placement.layers[0].expert_of_slot[0] = before.placement.layers[0].expert_of_slot[1];
  EXPECT_NE(refusal(loads, options, ErrorKind::config).find("has no slot for expert"),
            std::string::npos);
  before.placement.layers[0].expert_of_slot[0] = 8;
  EXPECT_NE(refusal(loads, options, ErrorKind::config).find("has expert 8"), std::string::npos);
  before.placement.num_slots = 16;
  EXPECT_NE(refusal(loads, options, ErrorKind::config).find("has 16 slots"), std::string::npos);
}

TEST(BalanceInOrder, SpreadsExpertsThatRanksDoNotDivide) {
  // Ranks hold experts 0 to 1, 2 to 3 and 4.
  EXPECT_DOUBLE_EQ(balance_in_order(std::vector<std::int64_t>{1, 2, 3, 4, 5}, 3), 7.0 * 3 / 15);
}

TEST(SplitWeights, LowerTheHeaviestRankHalfWay) {
  // Expert 0 is on both ranks; rank 0 also has the heavier other expert.
  const Shape shape{3, 2, 2};
  const std::vector<std::int64_t> loads{40, 30, 10};
  const auto weights = split_weights(loads, std::vector<std::int32_t>{0, 1, 0, 2}, shape);

  EXPECT_EQ(weights[1], kEvenWeight);
  EXPECT_EQ(weights[3], kEvenWeight);
  EXPECT_NEAR(weights[0], kEvenWeight * 0.75, 1);  // all even would be 10 and 30 of 40
  EXPECT_NEAR(weights[2], kEvenWeight * 1.25, 1);
}

TEST(SplitWeights, AreUsedWhereTheyHelp) {
  auto options = options_of(10, 2);
  options.split = Split::by_weights;
  const auto loads = loads_of({{40, 30, 10, 9, 8, 7, 1, 1, 1}});
  const Plan weighted = plan(loads, options);
  options.split = Split::even;
  const Plan even = plan(loads, options);

  EXPECT_LE(weighted.layers[0].facts.balance, even.layers[0].facts.balance + 1e-9);
}

}  // namespace
}  // namespace trireme::eplb
