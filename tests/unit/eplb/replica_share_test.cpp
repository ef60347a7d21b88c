#include "eplb/replica_share.h"

#include <gtest/gtest.h>

#include "eplb/fixed_point.h"
#include "placement_checks.h"

namespace trireme::eplb {
namespace {

using Slots = std::vector<std::int32_t>;

/// The share of each slot, from the rule itself: for every home, who takes its tokens.
std::vector<double> shares_by_rule(const Slots& placed, const Slots& weights, const Shape& shape) {
  std::vector<double> shares(placed.size(), 0);
  const auto rank = [&](std::size_t slot) {
    return static_cast<std::int32_t>(slot) / shape.slots_per_rank;
  };
  const auto node = [&](std::int32_t of_rank) { return of_rank / shape.ranks_per_node(); };
  for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
    for (std::int32_t home = 0; home < shape.num_ranks; ++home) {
      for (int reach = 0; reach < 3; ++reach) {
        double weight = 0;
        const auto takes = [&](std::size_t slot) {
          return placed[slot] == expert &&
                 (reach == 2 || (reach == 0 ? rank(slot) == home : node(rank(slot)) == node(home)));
        };
        for (std::size_t slot = 0; slot < placed.size(); ++slot) {
          if (takes(slot)) weight += weights[slot];
        }
        if (weight == 0) continue;
        for (std::size_t slot = 0; slot < placed.size(); ++slot) {
          if (takes(slot)) shares[slot] += weights[slot] / weight / shape.num_ranks;
        }
        break;
      }
    }
  }
  return shares;
}

TEST(ReplicaShares, FollowTheWeightsUnderQuota) {
  const Shape shape = make_shape(2, 4, 2, 1);

  const auto even = replica_shares(Slots{0, 1, 0, 0}, {}, shape, ReplicaChoice::quota);
  const auto weighed =
      replica_shares(Slots{0, 1, 0, 0}, Slots{2, 9, 1, 1}, shape, ReplicaChoice::quota);

  EXPECT_EQ(even[1], kWholeShare);
  EXPECT_EQ(even[0] + even[2] + even[3], kWholeShare);
  EXPECT_NEAR(static_cast<double>(even[0]), kWholeShare / 3.0, 1);
  EXPECT_EQ(weighed, (std::vector<std::int64_t>{kWholeShare / 2, kWholeShare, kWholeShare / 4,
                                                kWholeShare / 4}));
}

TEST(ReplicaShares, PreferTheOwnRankThenTheOwnNodeUnderHome) {
  const Shape shape = make_shape(2, 4, 4, 2);  // a slot a rank, two ranks a node

  const auto shares = replica_shares(Slots{0, 1, 0, 0}, {}, shape, ReplicaChoice::home);

  // Expert 0: ranks 0, 2, 3 keep their own, rank 1 asks rank 0 of its node. Expert 1: all of it.
  EXPECT_EQ(shares, (std::vector<std::int64_t>{kWholeShare / 2, kWholeShare, kWholeShare / 4,
                                               kWholeShare / 4}));
}

TEST(ReplicaShares, AreWhatTheRuleGivesHomeByHome) {
  Random random(4);
  for (const auto& shape : {make_shape(5, 24, 8, 2), make_shape(4, 24, 12, 3),
                            make_shape(6, 20, 4, 4), make_shape(3, 12, 4, 1)}) {
    Slots placed, weights;
    for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
      placed.push_back(slot < shape.num_experts ? slot : random.below(shape.num_experts));
      weights.push_back(1 + random.below(5));
    }

    const auto shares = replica_shares(placed, weights, shape, ReplicaChoice::home);

    const auto expected = shares_by_rule(placed, weights, shape);
    for (std::size_t slot = 0; slot < placed.size(); ++slot) {
      EXPECT_NEAR(static_cast<double>(shares[slot]), expected[slot] * kWholeShare, 4);
    }
  }
}

TEST(ReplicaShares, OfAnExpertSumToAllOfItsTokens) {
  const Shape shape = make_shape(3, 21, 7, 7);
  Slots placed(21);
  for (std::size_t slot = 0; slot < 21; ++slot)
    placed[slot] = slot < 14 ? 0 : slot % 2 == 0 ? 1 : 2;

  for (const auto choice : {ReplicaChoice::quota, ReplicaChoice::home}) {
    const auto shares = replica_shares(placed, {}, shape, choice);

    std::vector<std::int64_t> sums(3, 0);
    for (std::size_t slot = 0; slot < 21; ++slot) sums[placed[slot]] += shares[slot];
    EXPECT_EQ(sums, std::vector<std::int64_t>(3, kWholeShare));
  }
}

TEST(RankLoads, AddUpTheSharesOfTheSlots) {
  const Shape shape = make_shape(2, 4, 2, 1);
  const Slots placed{0, 1, 0, -1};

  const auto shares = replica_shares(placed, {}, shape, ReplicaChoice::quota);

  EXPECT_EQ(rank_loads(std::vector<std::int64_t>{100, 10}, placed, shares, shape),
            (std::vector<std::int64_t>{60, 50}));
}

TEST(BalanceOfChoice, IsThatOfEvenReplicasUnderQuota) {
  const Shape shape = make_shape(12, 16, 8, 2);
  const auto loads = random_counts(12, 200, 6);
  Slots placed(16);
  for (std::int32_t slot = 0; slot < 16; ++slot) placed[slot] = slot % 12;

  EXPECT_NEAR(balance_of_choice(loads, placed, {}, shape, ReplicaChoice::quota),
              balance(loads, placed, 8), 1e-6);
  EXPECT_EQ(
      balance_of_choice(std::vector<std::int64_t>(12, 0), placed, {}, shape, ReplicaChoice::home),
      1);
}

}  // namespace
}  // namespace trireme::eplb
