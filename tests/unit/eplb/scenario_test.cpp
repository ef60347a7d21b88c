#include "eplb/scenario.h"

#include <gtest/gtest.h>

#include <numeric>

#include "eplb/scenario_start.h"
#include "eplb/scenario_state.h"
#include "placement_checks.h"

namespace trireme::eplb {
namespace {

std::vector<std::int32_t> plan(const std::vector<std::int64_t>& counts, const Shape& shape,
                               const ScenarioOptions& options = {}) {
  return plan_scenarios(make_scenarios(counts, shape.num_experts), shape, options);
}

/// Experts in order, and again from the first while slots are left.
std::vector<std::int32_t> round_robin(const Shape& shape) {
  std::vector<std::int32_t> placed(shape.num_slots());
  for (std::size_t slot = 0; slot < placed.size(); ++slot) {
    placed[slot] = static_cast<std::int32_t>(slot) % shape.num_experts;
  }
  return placed;
}

TEST(PlanScenarios, PartsExpertsThatAreBusyAtTheSameTime) {
  const Shape shape = make_shape(4, 4, 2, 1);
  const std::vector<std::int64_t> counts{1, 1, 0, 0, 0, 0, 1, 1};  // the sum is even

  const auto placed = plan(counts, shape);

  EXPECT_EQ(scenario_balance(counts, 4, placed, 2), 1.0);
  EXPECT_EQ(scenario_balance(counts, 4, std::vector<std::int32_t>{0, 1, 2, 3}, 2), 2.0);
}

TEST(PlanScenarios, FindsTheBestOfAllPlacementsOfSmallLayers) {
  for (const auto& shape :
       {make_shape(5, 6, 2, 1), make_shape(4, 6, 3, 1), make_shape(3, 6, 3, 1)}) {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const auto counts = random_counts(3 * shape.num_experts, 100, seed);
      const auto value = [&](const std::vector<std::int32_t>& placed) {
        return scenario_balance(counts, shape.num_experts, placed, shape.num_ranks);
      };

      const auto placed = plan(counts, shape, {.seed = seed, .num_steps = 20'000});

      EXPECT_NEAR(value(placed), lowest_of_all(shape, value), 1e-6);
    }
  }
}

TEST(PlanScenarios, PlacesEveryExpertAndNoneTwiceOnARank) {
  for (const auto& shape : {make_shape(64, 72, 8, 1), make_shape(30, 64, 16, 1),
                            make_shape(16, 16, 16, 1), make_shape(9, 40, 5, 1)}) {
    const auto counts = random_counts(6 * shape.num_experts, 50, 7);

    const auto placed = plan(counts, shape, {.num_steps = 5'000});

    EXPECT_TRUE(every_expert_has_a_slot(placed, shape));
    EXPECT_EQ(duplicates(placed, shape), 0);
  }
}

TEST(ScenarioPacking, PartsReplicasForWhichOnlyOneRankHadRoom) {
  const Shape shape = make_shape(5, 6, 2, 1);
  const auto scenarios = make_scenarios(std::vector<std::int64_t>{10, 2, 2, 2, 2}, 5);

  const auto placed =
      scenario_packing(scenarios, shape, std::vector<std::int32_t>{1, 1, 1, 1, 2}, 1);

  EXPECT_TRUE(every_expert_has_a_slot(placed, shape));
  EXPECT_EQ(duplicates(placed, shape), 0);
}

TEST(PlanScenarios, RepeatsExpertsOnARankOnlyWhereSlotsAreLeftOver) {
  const Shape shape = make_shape(2, 6, 2, 1);

  const auto placed = plan({10, 30, 20, 20}, shape, {.num_steps = 1'000});

  EXPECT_TRUE(every_expert_has_a_slot(placed, shape));
  EXPECT_EQ(duplicates(placed, shape), 2);  // three slots for two experts on each rank
}

TEST(PlanScenarios, HandlesOneRankAndLayersWithSilentExperts) {
  EXPECT_TRUE(every_expert_has_a_slot(plan({1, 0, 0}, make_shape(3, 3, 1, 1)), {3, 1, 3, 1}));
  EXPECT_TRUE(every_expert_has_a_slot(plan({0, 0, 9, 0}, make_shape(4, 6, 2, 1)), {4, 2, 3, 1}));
}

TEST(PlanScenarios, DecidesAlikeWhateverTheTotalsOfTheScenarios) {
  const Shape shape = make_shape(24, 32, 8, 1);
  auto counts = random_counts(4 * 24, 100, 3);
  const auto placed = plan(counts, shape, {.num_steps = 5'000});

  for (std::int64_t expert = 0; expert < 24; ++expert) counts[2 * 24 + expert] *= 1024;

  EXPECT_EQ(plan(counts, shape, {.num_steps = 5'000}), placed);
}

TEST(PlanScenarios, GivesTheSamePlacementOnEveryMachine) {
  const Shape shape = make_shape(6, 8, 4, 1);

  const auto placed = plan(random_counts(5 * 6, 1000, 1), shape, {.seed = 5, .num_steps = 10'000});

  EXPECT_EQ(placed, (std::vector<std::int32_t>{1, 2, 3, 4, 4, 0, 5, 4}));
}

TEST(PlanScenarios, KeepsToTheNumberOfSlotsThatMayChange) {
  const Shape shape = make_shape(32, 40, 8, 1);
  const auto counts = random_counts(8 * 32, 1000, 11);
  const auto previous = round_robin(shape);
  const double before = scenario_balance(counts, 32, previous, 8);
  double last = before;
  for (const std::int64_t most : {0, 2, 6, 40}) {
    const auto placed =
        plan(counts, shape, {.num_steps = 30'000, .previous = previous, .max_moved = most});

    std::int64_t moved = 0;
    for (std::size_t slot = 0; slot < placed.size(); ++slot)
      moved += placed[slot] != previous[slot];
    EXPECT_LE(moved, most);
    EXPECT_TRUE(every_expert_has_a_slot(placed, shape));
    const double now = scenario_balance(counts, 32, placed, 8);
    EXPECT_LE(now, last);
    last = now;
  }
  EXPECT_LT(last, before - 0.1);
}

TEST(MakeScenarios, LeavesOutSilentOnesAndAddsUpNeighboursOfTooMany) {
  std::vector<std::int64_t> counts;
  for (int window = 0; window < 200; ++window) counts.insert(counts.end(), {window, 3 * window});

  const auto few = make_scenarios(std::vector<std::int64_t>{0, 0, 1, 3, 0, 0}, 2);
  const auto many = make_scenarios(counts, 2);

  EXPECT_EQ(few.num_scenarios, 1);
  EXPECT_EQ(few.loads, (std::vector<std::int32_t>{kScenarioLoad / 4, kScenarioLoad / 4 * 3}));
  EXPECT_EQ(many.num_scenarios, kMostScenarios);
  EXPECT_EQ(many.loads.front(), kScenarioLoad / 4);
}

TEST(ScenarioState, KnowsTheCostOfEveryChangeWithoutStartingAgain) {
  const Shape shape = make_shape(10, 15, 5, 1);
  const auto scenarios = make_scenarios(random_counts(11 * 10, 100, 2), 10);
  ScenarioState state(scenarios, shape, round_robin(shape));
  const auto fresh_cost = [&] {
    return ScenarioState(scenarios, shape, state.expert_of_slot()).cost();
  };
  Random random(1);
  std::int64_t changes = 0;
  for (int step = 0; step < 500; ++step) {
    const std::int32_t slot = random.below(15), other = random.below(15), expert = random.below(10);
    if (state.rank_of(slot) != state.rank_of(other)) {
      state.swap(slot, other, state.cost_of_swap(slot, other));
      ASSERT_NEAR(static_cast<double>(state.cost()), static_cast<double>(fresh_cost()), 0.0);
      ++changes;
    }
    const std::int32_t old = state.expert_of_slot()[slot];
    if (old != expert && state.replicas(old) > 1) {
      state.retarget(slot, expert, state.cost_of_retarget(slot, expert));
      ASSERT_EQ(state.cost(), fresh_cost());
      ++changes;
    }
  }
  EXPECT_GT(changes, 400);
}

TEST(ScenarioBalance, AveragesOverScenariosWithLoad) {
  const std::vector<std::int64_t> counts{3, 1, 0, 0, 1, 1};

  EXPECT_EQ(scenario_balance(counts, 2, std::vector<std::int32_t>{0, 1}, 2), (1.5 + 1) / 2);
  EXPECT_EQ(
      scenario_balance(std::vector<std::int64_t>(4, 0), 2, std::vector<std::int32_t>{0, 1}, 2), 1);
}

}  // namespace
}  // namespace trireme::eplb
