#include "eplb/incremental.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "eplb/layer_solver.h"

namespace trireme::eplb {
namespace {

using Loads = std::vector<std::int64_t>;
using Experts = std::vector<std::int32_t>;

/// Each rank's experts, sorted.
std::vector<Experts> by_rank(const Experts& expert_of_slot, std::int32_t slots_per_rank) {
  std::vector<Experts> ranks;
  for (std::size_t begin = 0; begin < expert_of_slot.size(); begin += slots_per_rank) {
    auto& rank = ranks.emplace_back(expert_of_slot.begin() + begin,
                                    expert_of_slot.begin() + begin + slots_per_rank);
    std::ranges::sort(rank);
  }
  return ranks;
}

/// Experts that stay on a rank must keep their slot, the first one if they had several.
void expect_stayers_in_place(const Experts& old, const Experts& placed, std::int32_t slots) {
  for (std::size_t begin = 0; begin < old.size(); begin += slots) {
    for (const std::int32_t expert : Experts(old.begin() + begin, old.begin() + begin + slots)) {
      const auto end = placed.begin() + begin + slots;
      if (std::find(placed.begin() + begin, end, expert) == end) continue;
      const auto first = std::find(old.begin() + begin, old.end(), expert) - old.begin();
      EXPECT_EQ(placed[first], expert) << "slot " << first;
    }
  }
}

TEST(KeepSlots, LeavesExpertsThatStayOnARankInTheirSlots) {
  struct Case {
    std::int32_t slots_per_rank;
    Experts old, placed;
  };
  const std::vector<Case> cases{
      {4, {0, 1, 2, 3, 4, 5, 6, 7}, {1, 5, 0, 4, 6, 2, 7, 3}},
      {5, {0, 1, 0, 2, 3, 4, 5, 6, 1, 2}, {0, 5, 4, 0, 1, 6, 2, 3, 2, 1}},
      {4, {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}, {0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0}}};
  for (const Case& c : cases) {
    const auto kept = keep_slots(c.old, c.placed, c.slots_per_rank);

    EXPECT_EQ(by_rank(kept, c.slots_per_rank), by_rank(c.placed, c.slots_per_rank));
    expect_stayers_in_place(c.old, kept, c.slots_per_rank);
  }
}

class Drifted : public ::testing::Test {
 protected:
  Drifted() {
    Random random(4);
    for (int expert = 0; expert < 64; ++expert) before_.push_back(100 + random.below(2000));
    after_ = before_;
    for (int expert = 0; expert < 64; expert += 3) after_[expert] += 1500;
    old_ = solve_layer(before_, shape_, lower_bound(before_, shape_), {}, random);
  }

  double stale() const { return balance(after_, old_, shape_.num_ranks); }

  Shape shape_{64, 8, 10};
  Loads before_, after_;
  Experts old_;
};

TEST_F(Drifted, ReachesTheTargetWithFewChanges) {
  const auto placed = rebalance(old_, after_, shape_, {.target = 1.02});

  ASSERT_GT(stale(), 1.04);
  EXPECT_LE(balance(after_, placed, 8), 1.0201);
  EXPECT_LE(count_changed(old_, placed), 12);
  EXPECT_GE(std::ranges::min(count_replicas(placed, 64)), 1);
  expect_stayers_in_place(old_, placed, 10);
}

TEST_F(Drifted, ChangesAtMostTheSlotsAllowed) {
  for (std::int64_t most = 0; most < 6; ++most) {
    const auto placed = rebalance(old_, after_, shape_, {.target = 1.0, .most_changed = most});

    EXPECT_LE(count_changed(old_, placed), most);
    EXPECT_LE(balance(after_, placed, 8), stale());
    if (most >= 2) {
      EXPECT_LT(balance(after_, placed, 8), stale());
    }
  }
}

TEST_F(Drifted, ChangesNothingWhereTheTargetHolds) {
  EXPECT_EQ(rebalance(old_, before_, shape_, {.target = 1.02}), old_);
}

TEST_F(Drifted, PutsNoTwoReplicasOnARank) {
  const auto placed = rebalance(old_, after_, shape_, {.target = 1.0});

  for (const Experts& rank : by_rank(placed, 10)) {
    EXPECT_EQ(std::set<std::int32_t>(rank.begin(), rank.end()).size(), rank.size());
  }
}

TEST(Rebalance, LeavesAPlacementAloneWithoutLoad) {
  const Experts old{0, 1, 2, 0, 1, 2};

  EXPECT_EQ(rebalance(old, Loads{0, 0, 0}, {3, 3, 2}, {}), old);
}

}  // namespace
}  // namespace trireme::eplb
