#include "eplb/deepseek.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "eplb/fixed_point.h"

namespace trireme::eplb {
namespace {

using Loads = std::vector<std::int64_t>;
using Experts = std::vector<std::int32_t>;

const Loads kReadmeFirst{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const Loads kReadmeSecond{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

Experts place(const Loads& loads, std::int64_t slots, std::int32_t groups, std::int64_t nodes,
              std::int64_t ranks) {
  return deepseek_placement(
      loads, make_shape(static_cast<std::int64_t>(loads.size()), slots, ranks, nodes), groups);
}

Experts replicas(const Loads& loads, std::int64_t slots, std::int32_t groups, std::int64_t nodes,
                 std::int64_t ranks) {
  return count_replicas(place(loads, slots, groups, nodes, ranks),
                        static_cast<std::int32_t>(loads.size()));
}

TEST(DeepSeek, ReproducesTheHierarchicalExampleOfItsReadme) {
  EXPECT_EQ(place(kReadmeFirst, 16, 4, 2, 8),
            (Experts{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(place(kReadmeSecond, 16, 4, 2, 8),
            (Experts{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
  EXPECT_EQ(replicas(kReadmeFirst, 16, 4, 2, 8), (Experts{1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1}));
  EXPECT_EQ(replicas(kReadmeSecond, 16, 4, 2, 8), (Experts{1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1}));
}

TEST(DeepSeek, PlacesTheReadmeExampleGlobally) {
  const auto first = place(kReadmeFirst, 16, 1, 1, 8), second = place(kReadmeSecond, 16, 1, 1, 8);

  EXPECT_EQ(first, (Experts{10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1}));
  EXPECT_EQ(second, (Experts{1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7}));
  EXPECT_NEAR(balance(kReadmeFirst, first, 8), 1.0726, 5e-5);
  EXPECT_NEAR(balance(kReadmeSecond, second, 8), 1.1903, 5e-5);
}

TEST(DeepSeek, BalancesTheReadmeExampleByNodes) {
  EXPECT_NEAR(balance(kReadmeFirst, place(kReadmeFirst, 16, 4, 2, 8), 8), 1.2081, 5e-5);
  EXPECT_NEAR(balance(kReadmeSecond, place(kReadmeSecond, 16, 4, 2, 8), 8), 1.2422, 5e-5);
}

TEST(DeepSeek, GivesOneRankEveryExpert) {
  auto placed = place({10, 20, 30, 40}, 4, 1, 1, 1);

  std::ranges::sort(placed);
  EXPECT_EQ(placed, (Experts{0, 1, 2, 3}));
}

TEST(DeepSeek, ReplicatesNothingWithoutRedundantSlots) {
  EXPECT_EQ(replicas(Loads(8, 50), 8, 2, 2, 4), Experts(8, 1));
}

TEST(DeepSeek, ReplicatesHotExpertsMost) {
  const auto extreme = replicas({1000, 1, 1, 1, 1, 1, 1, 1}, 12, 2, 2, 4);
  EXPECT_GT(extreme[0], extreme[1]);
  EXPECT_GE(replicas({100, 50, 200, 75, 150, 25, 300, 80}, 12, 4, 2, 4)[6], 2);
  EXPECT_GE(replicas({200, 150, 100, 50, 25, 12}, 10, 3, 1, 2)[0], 2);
  EXPECT_GE(replicas({12, 25, 50, 100, 150, 200}, 10, 3, 1, 2)[5], 2);
}

TEST(DeepSeek, FillsEverySlotWithEveryExpertPlaced) {
  struct Case {
    Loads loads;
    std::int64_t slots;
    std::int32_t groups;
    std::int64_t nodes, ranks;
  };
  const std::vector<Case> cases{
      {{10, 20, 30, 40, 50, 60}, 8, 2, 2, 4},
      {{60, 50, 40, 30, 20, 10}, 8, 2, 2, 4},
      {Loads(6, 25), 8, 2, 2, 4},
      {{10, 20, 30, 40}, 8, 1, 2, 4},
      {{10, 20, 30, 40}, 6, 2, 1, 2},
      {{10, 20, 30, 40, 50, 60}, 8, 3, 2, 4},
      {{50, 100, 75, 120, 90, 60, 80, 110, 40, 70, 95, 85, 65, 55, 45, 35}, 24, 8, 4, 8},
  };
  for (const Case& c : cases) {
    const auto placed = place(c.loads, c.slots, c.groups, c.nodes, c.ranks);
    const auto count = count_replicas(placed, static_cast<std::int32_t>(c.loads.size()));

    EXPECT_EQ(static_cast<std::int64_t>(placed.size()), c.slots);
    EXPECT_GE(*std::ranges::min_element(count), 1);
  }
}

TEST(DeepSeek, PlacesGloballyWhereGroupsDoNotFitNodes) {
  const Loads loads{10, 20, 30, 40, 50, 60};

  EXPECT_EQ(place(loads, 8, 3, 2, 4), place(loads, 8, 1, 1, 4));
}

TEST(DeepSeek, RefusesSlotsThatRanksCannotShare) {
  EXPECT_THROW(make_shape(4, 7, 4, 2), Error);
  EXPECT_THROW(make_shape(8, 7, 7, 1), Error);
  EXPECT_THROW(make_shape(4, 8, 4, 3), Error);
}

TEST(DeepSeek, ReplicatesAsTensorRtLlmDoes) {
  struct Case {
    Loads loads;
    std::int32_t slots;
    Experts expected;
    bool tied;
  };
  const std::vector<Case> cases{{{1, 2, 3, 4}, 4, {1, 1, 1, 1}, false},
                                {{0, 0, 0, 0}, 6, {2, 2, 1, 1}, false},
                                {{1, 4, 2, 1}, 8, {1, 4, 2, 1}, true},
                                {{10, 5, 2, 15, 8}, 9, {2, 1, 1, 3, 2}, false},
                                {{0, 10, 0}, 4, {1, 2, 1}, false}};
  for (const Case& c : cases) {
    auto count = count_replicas(replicate_experts(to_fixed_point(c.loads), c.slots),
                                static_cast<std::int32_t>(c.loads.size()));
    auto expected = c.expected;
    if (c.tied) {
      std::ranges::sort(count);
      std::ranges::sort(expected);
    }

    EXPECT_EQ(count, expected);
  }
}

TEST(DeepSeek, PacksAsEvenlyAsTensorRtLlm) {
  struct Case {
    Loads loads;
    Experts replicas;
    std::int32_t ranks;
    double most_apart;
  };
  const std::vector<Case> cases{{{1, 1, 1, 1}, {1, 1, 1, 1}, 2, .001},
                                {{1, 3, 2, 1}, {1, 2, 2, 1}, 2, .01},
                                {{10, 5, 2, 15, 8}, {2, 1, 1, 3, 2}, 3, 2.0},
                                {{1, 100, 10}, {1, 2, 1}, 2, 9.0},
                                {{2, 3, 4, 5, 6, 7}, {1, 1, 1, 1, 1, 1}, 2, 1.0}};
  constexpr std::int64_t kUnit = 60000;
  for (const Case& c : cases) {
    Loads weights;
    for (std::size_t expert = 0; expert < c.loads.size(); ++expert) {
      weights.insert(weights.end(), c.replicas[expert],
                     c.loads[expert] * kUnit / c.replicas[expert]);
    }
    const Packing packing = balanced_packing(weights, c.ranks);
    Loads rank_loads(c.ranks, 0);
    for (std::size_t item = 0; item < weights.size(); ++item) {
      rank_loads[packing.pack[item]] += weights[item];
    }
    const auto [least, most] = std::ranges::minmax(rank_loads);

    EXPECT_LE(static_cast<double>(most - least) / kUnit, c.most_apart);
  }
}

TEST(FixedPoint, KeepsHugeLoadsInRangeAndRefusesNegativeOnes) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  const auto fixed = to_fixed_point(Loads{kMost, kMost, 1});

  EXPECT_LT(fixed[0] + fixed[1], std::int64_t{1} << 46);
  EXPECT_EQ(fixed[0], fixed[1]);
  EXPECT_THROW(to_fixed_point(Loads{3, -1}), Error);
}

}  // namespace
}  // namespace trireme::eplb
