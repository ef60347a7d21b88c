#include "eplb/traffic.h"

#include <gtest/gtest.h>

#include <numeric>

#include "eplb/fixed_point.h"
#include "eplb/replica_share.h"
#include "eplb/traffic_packing.h"
#include "eplb/traffic_state.h"
#include "placement_checks.h"

namespace trireme::eplb {
namespace {

using Slots = std::vector<std::int32_t>;

/// Tokens that choose among the experts of one cluster: expert e is of cluster e % clusters.
struct Tokens {
  std::vector<std::int16_t> experts;
  std::vector<std::int32_t> home;
  std::vector<std::int64_t> loads;
  std::int64_t top_k;

  Choices choices() const { return {experts, home, top_k}; }
};

Tokens clustered_tokens(const Shape& shape, std::int32_t clusters, std::int64_t top_k,
                        std::int64_t num_tokens, std::uint64_t seed) {
  Tokens tokens{.experts = {}, .home = {}, .loads = {}, .top_k = top_k};
  tokens.loads.assign(shape.num_experts, 0);
  Random random(seed);
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const std::int32_t cluster = random.below(clusters);
    std::set<std::int32_t> chosen;
    while (std::ssize(chosen) < top_k) {
      chosen.insert(random.below(shape.num_experts / clusters) * clusters + cluster);
    }
    for (const std::int32_t expert : chosen) {
      tokens.experts.push_back(static_cast<std::int16_t>(expert));
      ++tokens.loads[expert];
    }
    tokens.home.push_back(random.below(shape.num_ranks));
  }
  return tokens;
}

Slots round_robin(const Shape& shape) {
  Slots placed(shape.num_slots());
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    placed[slot] = slot % shape.num_experts;
  }
  return placed;
}

TEST(RemoteNodesPerToken, CountsEachOtherNodeOnce) {
  const Shape shape = make_shape(4, 4, 4, 2);  // node 0: experts 0, 1; node 1: experts 2, 3
  const std::vector<std::int16_t> experts{0, 1, 2, 3, 0, 2};
  const std::vector<std::int32_t> home{0, 0, 3};  // 0 and 1: near; 2 and 3: one node; 0: one node

  EXPECT_DOUBLE_EQ(
      remote_nodes_per_token({experts, home, 2}, Slots{0, 1, 2, 3}, {}, shape, ReplicaChoice::home),
      2.0 / 3);
}

TEST(RemoteNodesPerToken, IsTheExpectationOverReplicas) {
  const Shape shape = make_shape(2, 3, 3, 3);  // expert 0 on nodes 1 and 2, expert 1 on node 0
  const Slots placed{1, 0, 0}, weights{1, 3, 1};
  const std::vector<std::int16_t> experts{0};

  const auto remote = [&](const std::vector<std::int32_t>& home, const Slots& by, auto choice) {
    return remote_nodes_per_token({experts, home, 1}, placed, by, shape, choice);
  };

  EXPECT_DOUBLE_EQ(remote({0}, {}, ReplicaChoice::home), 1);
  EXPECT_DOUBLE_EQ(remote({1}, {}, ReplicaChoice::home), 0);
  EXPECT_DOUBLE_EQ(remote({1}, {}, ReplicaChoice::quota), 0.5);
  EXPECT_DOUBLE_EQ(remote({1}, weights, ReplicaChoice::quota), 0.25);
}

TEST(RemoteNodesPerToken, AddsUpTheChancesThatAnyReplicaIsOnANode) {
  const Shape shape = make_shape(3, 6, 3, 3);  // experts 0 and 1 on nodes 1 and 2, expert 2 on 0
  const Slots placed{2, 2, 0, 1, 0, 1};
  const std::vector<std::int16_t> experts{0, 1};

  // Two coins between two nodes: 1.5 nodes are met.
  EXPECT_DOUBLE_EQ(remote_nodes_per_token({experts, std::vector<std::int32_t>{0}, 2}, placed, {},
                                          shape, ReplicaChoice::home),
                   1.5);
}

TEST(PlanTraffic, GathersExpertsThatAreChosenTogether) {
  const Shape shape = make_shape(16, 16, 8, 4);
  const auto tokens = clustered_tokens(shape, 4, 3, 2000, 1);
  const auto start = round_robin(shape);

  const auto placed = plan_traffic(tokens.loads, tokens.choices(), start, shape,
                                   {.tolerance = 0.2, .lowest_balance = 1, .num_steps = 20'000});

  // With each cluster on a node, a token goes to one node, or none if it is at home there.
  EXPECT_NEAR(remote_nodes_per_token(tokens.choices(), placed, {}, shape, ReplicaChoice::home),
              0.75, 0.05);
  EXPECT_GT(remote_nodes_per_token(tokens.choices(), start, {}, shape, ReplicaChoice::home), 1.5);
  EXPECT_TRUE(every_expert_has_a_slot(placed, shape));
}

TEST(PlanTraffic, FindsTheLeastTrafficOfAllBalancedPlacements) {
  const Shape shape = make_shape(5, 6, 2, 2);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const auto tokens = clustered_tokens(shape, 1, 2, 60, seed);
    constexpr double kLimit = 1.3;
    const auto traffic = [&](const Slots& placed) {
      const double balance =
          balance_of_choice(tokens.loads, placed, {}, shape, ReplicaChoice::home);
      return balance > kLimit
                 ? 1e9
                 : remote_nodes_per_token(tokens.choices(), placed, {}, shape, ReplicaChoice::home);
    };

    const auto placed =
        plan_traffic(tokens.loads, tokens.choices(), round_robin(shape), shape,
                     {.tolerance = kLimit - 1, .lowest_balance = 1, .num_steps = 20'000});

    // Nodes get a little less room than the limit, so the very best may be out of bounds.
    EXPECT_LE(traffic(placed), lowest_of_all(shape, traffic) * 1.05);
  }
}

TEST(PlanTraffic, KeepsBalanceWithinTheTolerance) {
  const Shape shape = make_shape(64, 80, 16, 4);
  const auto tokens = clustered_tokens(shape, 8, 4, 3000, 3);
  for (const auto choice : {ReplicaChoice::home, ReplicaChoice::quota}) {
    const auto placed = plan_traffic(
        tokens.loads, tokens.choices(), round_robin(shape), shape,
        {.choice = choice, .tolerance = 0.02, .lowest_balance = 1, .num_steps = 30'000});

    EXPECT_LE(balance_of_choice(tokens.loads, placed, {}, shape, choice), 1.02);
    EXPECT_TRUE(every_expert_has_a_slot(placed, shape));
    EXPECT_EQ(duplicates(placed, shape), 0);
    EXPECT_LT(
        remote_nodes_per_token(tokens.choices(), placed, {}, shape, choice),
        remote_nodes_per_token(tokens.choices(), round_robin(shape), {}, shape, choice) - 0.3);
  }
}

TEST(PlanTraffic, BalancesNodesWithoutChoices) {
  const Shape shape = make_shape(32, 48, 16, 4);
  const auto loads = random_counts(32, 1000, 8);

  const auto placed = plan_traffic(loads, {}, round_robin(shape), shape,
                                   {.tolerance = 0.03, .lowest_balance = 1, .num_steps = 30'000});

  EXPECT_LE(balance_of_choice(loads, placed, {}, shape, ReplicaChoice::home), 1.03);
  EXPECT_GT(balance_of_choice(loads, round_robin(shape), {}, shape, ReplicaChoice::home), 1.3);
  EXPECT_EQ(duplicates(placed, shape), 0);
}

TEST(PlanTraffic, GivesTheSamePlacementAgain) {
  const Shape shape = make_shape(24, 32, 8, 2);
  const auto tokens = clustered_tokens(shape, 3, 4, 500, 2);
  const TrafficOptions options{
      .seed = 3, .tolerance = 0.05, .lowest_balance = 1, .num_steps = 5'000};

  const auto once =
      plan_traffic(tokens.loads, tokens.choices(), round_robin(shape), shape, options);

  EXPECT_EQ(plan_traffic(tokens.loads, tokens.choices(), round_robin(shape), shape, options), once);
}

TEST(PlanTraffic, LeavesOneNodeAndSilentLayersAlone) {
  const Shape one = make_shape(8, 8, 4, 1), four = make_shape(8, 8, 4, 4);
  const auto tokens = clustered_tokens(one, 2, 2, 50, 1);

  EXPECT_EQ(plan_traffic(tokens.loads, tokens.choices(), round_robin(one), one, {}),
            round_robin(one));
  EXPECT_EQ(plan_traffic(std::vector<std::int64_t>(8, 0), {}, round_robin(four), four, {}),
            round_robin(four));
}

TEST(NodeState, KnowsTrafficAndLoadsAfterEveryChange) {
  const Shape shape = make_shape(12, 24, 6, 3);
  const auto tokens = clustered_tokens(shape, 2, 3, 300, 5);
  const auto units = to_mean_units(tokens.loads, shape.num_ranks);
  const auto set = make_tokens(tokens.choices(), units, shape, 1000);
  for (const auto choice : {ReplicaChoice::home, ReplicaChoice::quota}) {
    NodeState state(units, set, round_robin(shape), shape, choice);
    state.set_limits({.node_load = 2 * kMeanLoad, .replica_load = kMeanLoad / 4});
    Random random(2);
    for (int step = 0; step < 200; ++step) {
      const std::int32_t node = random.below(3), place = random.below(8), expert = random.below(12);
      if (state.replicas(state.experts(node)[place]) < 2) continue;
      state.propose(std::vector<NodeState::Change>{{node, place, expert}}, 1LL << 50);
      if (random.below(2) == 0) {
        state.undo();
      } else {
        state.keep();
      }
    }
    Slots placed;
    for (std::int32_t node = 0; node < 3; ++node) {
      placed.insert(placed.end(), state.experts(node).begin(), state.experts(node).end());
    }
    NodeState fresh(units, set, placed, shape, choice);
    fresh.set_limits({.node_load = 2 * kMeanLoad, .replica_load = kMeanLoad / 4});

    EXPECT_EQ(state.cost(), fresh.cost());
    EXPECT_EQ(state.overload(), fresh.overload());
    EXPECT_GT(state.overload(), 0);
    EXPECT_NEAR(static_cast<double>(state.cost()) / TokenCosts::kOneNode / 300,
                remote_nodes_per_token(tokens.choices(), placed, {}, shape, choice), 1e-3);
  }
}

TEST(PackNode, SpreadsReplicasEvenlyAndPartsThoseOfOneExpert) {
  const std::vector<Replica> replicas{{0, 50}, {0, 50}, {1, 40}, {2, 30}, {3, 20}, {4, 10}};

  const auto packed = pack_node(replicas, 2, 0, 1);

  const Shape shape{5, 2, 3, 1};
  EXPECT_EQ(duplicates(packed, shape), 0);
  std::int64_t first = 0;
  for (int slot = 0; slot < 3; ++slot)
    first += std::vector<std::int64_t>{50, 40, 30, 20, 10}[packed[slot]];
  EXPECT_EQ(first, 100);
}

TEST(PackNode, PartsReplicasForWhichOnlyOneRankHadRoom) {
  const std::vector<Replica> replicas{{0, 10}, {1, 2}, {2, 2}, {3, 2}, {4, 1}, {4, 1}};

  EXPECT_EQ(duplicates(pack_node(replicas, 2, 1000, 1), {5, 2, 3, 1}), 0);
}

TEST(PackNode, LooksFurtherWhereTheMostLoadedRankHasTooMuch) {
  int better = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto loads = random_counts(12, 1000, seed);
    std::vector<Replica> replicas;
    for (std::int32_t expert = 0; expert < 12; ++expert)
      replicas.push_back({expert, loads[expert]});
    const auto highest = [&](std::int64_t enough) {
      return balance(loads, pack_node(replicas, 4, enough, seed), 4);
    };

    EXPECT_LE(highest(0), highest(12'000));
    better += highest(0) < highest(12'000);
  }
  EXPECT_GT(better, 0);
}

TEST(PackNode, RepeatsAnExpertOnARankOnlyIfItHasMoreReplicasThanRanks) {
  const auto packed = pack_node(std::vector<Replica>{{0, 5}, {0, 5}, {0, 5}, {1, 9}}, 2, 0, 1);

  EXPECT_EQ(std::count(packed.begin(), packed.end(), 0), 3);
  EXPECT_EQ(duplicates(packed, {2, 2, 2, 1}), 1);
}

}  // namespace
}  // namespace trireme::eplb
