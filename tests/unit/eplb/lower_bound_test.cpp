#include "eplb/lower_bound.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "eplb/random.h"

namespace trireme::eplb {
namespace {

using Loads = std::vector<std::int64_t>;

/// The best balance over all placements, by trying every one of them.
double best_balance(const Loads& loads, const Shape& shape) {
  const auto num_experts = static_cast<std::int32_t>(loads.size());
  std::vector<std::int32_t> slots(shape.num_slots(), 0);
  double best = 1e9;
  while (true) {
    bool complete = true;
    for (const std::int32_t count : count_replicas(slots, num_experts)) complete &= count > 0;
    if (complete) best = std::min(best, balance(loads, slots, shape.num_ranks));
    std::size_t at = 0;
    while (at < slots.size() && ++slots[at] == num_experts) slots[at++] = 0;
    if (at == slots.size()) return best;
  }
}

TEST(LowerBound, IsNeverAboveTheBestOfAllPlacements) {
  const std::vector<Shape> shapes{{3, 2, 2}, {4, 3, 2}, {2, 3, 2}, {4, 2, 3},
                                  {3, 5, 1}, {4, 6, 1}, {3, 4, 2}};
  Random random(7);
  int tight = 0, cases = 0, by_packing = 0;
  for (const Shape& shape : shapes) {
    for (int draw = 0; draw < 20; ++draw) {
      Loads loads(shape.num_experts);
      for (std::int64_t& load : loads) load = 1 + random.below(draw % 2 == 0 ? 10 : 1000);
      loads[0] *= 1 + random.below(4);
      const LowerBound bound = lower_bound(loads, shape);
      const double best = best_balance(loads, shape);

      EXPECT_LE(bound.balance(), best * (1 + 1e-9));
      EXPECT_GE(bound.packing, bound.replicas);
      tight += bound.balance() > best * (1 - 1e-3);
      by_packing += bound.packing > std::max(1.0, bound.replicas) * (1 + 1e-6);
      ++cases;
    }
  }
  EXPECT_GT(tight, cases / 4);
  EXPECT_GT(by_packing, 0);
}

TEST(LowerBound, ProvesDeepSeeksGlobalPlacementOfTheReadmeOptimal) {
  const LowerBound bound =
      lower_bound(Loads{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}, {12, 8, 2});

  EXPECT_NEAR(bound.balance(), 1.1903, 2e-4);
}

TEST(LowerBound, IsOneWhereExpertsAreEven) {
  EXPECT_DOUBLE_EQ(lower_bound(Loads(8, 3), {8, 4, 2}).balance(), 1.0);
  EXPECT_DOUBLE_EQ(lower_bound(Loads(8, 0), {8, 4, 2}).balance(), 1.0);
}

TEST(LowerBound, CountsTheHeaviestReplica) {
  // Two slots are left for the hot expert: 50 of a mean of 103 / 4.
  const LowerBound bound = lower_bound(Loads{100, 1, 1, 1}, {4, 5, 1});

  EXPECT_NEAR(bound.balance(), 50.0 * 5 / 103, 1e-9);
}

}  // namespace
}  // namespace trireme::eplb
