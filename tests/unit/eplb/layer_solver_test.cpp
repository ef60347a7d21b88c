#include "eplb/layer_solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>

#include "eplb/deepseek.h"
#include "eplb/even_split.h"
#include "eplb/fixed_point.h"
#include "eplb/layer_start.h"
#include "eplb/layer_state.h"

namespace trireme::eplb {
namespace {

using Loads = std::vector<std::int64_t>;
using Experts = std::vector<std::int32_t>;

Experts solve(const Loads& loads, const Shape& shape, std::uint64_t seed = 0) {
  Random random(seed);
  return solve_layer(loads, shape, lower_bound(loads, shape), {}, random);
}

int duplicates(const Experts& expert_of_slot, const Shape& shape) {
  int found = 0;
  for (std::int32_t rank = 0; rank < shape.num_ranks; ++rank) {
    const auto begin = expert_of_slot.begin() + rank * shape.slots_per_rank;
    const std::set<std::int32_t> experts(begin, begin + shape.slots_per_rank);
    found += shape.slots_per_rank - static_cast<int>(experts.size());
  }
  return found;
}

bool every_expert_placed(const Experts& expert_of_slot, const Shape& shape) {
  return std::ranges::min(count_replicas(expert_of_slot, shape.num_experts)) >= 1;
}

TEST(LayerSolver, BalancesTheReadmeExampleBetterThanDeepSeek) {
  const Shape shape{12, 8, 2};
  const Loads first{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
  const Loads second{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

  EXPECT_LE(balance(first, solve(first, shape), 8), 1.0533);
  EXPECT_LE(balance(second, solve(second, shape), 8), 1.1904);
}

TEST(LayerSolver, SolvesFlashLbsExample) {
  const Shape shape{8, 8, 2};
  const Loads loads{600, 560, 120, 120, 20, 10, 10, 10};

  EXPECT_LE(balance(loads, solve(loads, shape), 8), 1.0853);
}

TEST(LayerSolver, PlacesEveryExpertOfFlashLbsTestWithoutDuplicates) {
  const Shape shape{256, 32, 9};
  Random random(42);
  for (int layer = 0; layer < 10; ++layer) {
    Loads loads(256);
    for (std::int64_t& load : loads) load = 1 + random.below(999);
    const auto placed = solve(loads, shape);

    EXPECT_TRUE(every_expert_placed(placed, shape));
    EXPECT_EQ(duplicates(placed, shape), 0);
    EXPECT_LT(balance(loads, placed, 32), 1.001);
  }
}

TEST(LayerSolver, FindsTheBestOfAllPlacementsOfTinyLayers) {
  const std::vector<Shape> shapes{{4, 3, 2}, {4, 2, 3}, {4, 6, 1}, {3, 4, 2}};
  Random random(3);
  for (const Shape& shape : shapes) {
    for (int draw = 0; draw < 5; ++draw) {
      Loads loads(shape.num_experts);
      for (std::int64_t& load : loads) load = 10 + random.below(90);
      Experts slots(shape.num_slots(), 0);
      double best = 1e9;  // over placements without duplicates
      for (std::size_t at = 0; at < slots.size();) {
        if (duplicates(slots, shape) == 0 && every_expert_placed(slots, shape)) {
          best = std::min(best, balance(loads, slots, shape.num_ranks));
        }
        for (at = 0; at < slots.size() && ++slots[at] == shape.num_experts;) slots[at++] = 0;
      }

      EXPECT_LE(balance(loads, solve(loads, shape), shape.num_ranks), best * 1.0015);
    }
  }
}

TEST(LayerSolver, GivesTheSamePlacementForTheSameSeed) {
  const Shape shape{64, 24, 3};
  Loads loads;
  for (std::int64_t expert = 0; expert < 64; ++expert) loads.push_back(100000 / (expert + 1));

  EXPECT_EQ(solve(loads, shape, 5), solve(loads, shape, 5));
}

TEST(LayerSolver, PutsEveryExpertOnEveryRankWhereSlotsAllow) {
  const Shape shape{3, 4, 5};
  const Loads loads{5, 100, 1};
  const auto placed = solve(loads, shape);

  EXPECT_DOUBLE_EQ(balance(loads, placed, 4), 1.0);
  EXPECT_TRUE(every_expert_placed(placed, shape));
  EXPECT_EQ(duplicates(placed, shape), 4 * 2);
}

TEST(LayerSolver, PlacesExpertsWithoutAnyLoad) {
  const Shape shape{16, 4, 6};
  const auto placed = solve(Loads(16, 0), shape);

  EXPECT_TRUE(every_expert_placed(placed, shape));
  EXPECT_EQ(duplicates(placed, shape), 0);
}

TEST(LayerStart, MakesRoomWhereTheLastSlotsAreOnRanksWithTheExpert) {
  Random random(11);
  for (int draw = 0; draw < 200; ++draw) {
    const Shape shape{4, 2 + random.below(5), 2 + random.below(2)};
    if (shape.num_slots() < 4) continue;
    Loads loads(4);
    for (std::int64_t& load : loads) load = random.below(3) == 0 ? 1000 : random.below(4);
    const auto placed = start_placement(loads, shape);

    EXPECT_EQ(static_cast<std::int32_t>(placed.size()), shape.num_slots());
    EXPECT_TRUE(every_expert_placed(placed, shape));
    EXPECT_EQ(duplicates(placed, shape), 0);
  }
}

TEST(LayerState, KeepsLoadsAsIfRecomputed) {
  const Shape shape{6, 4, 3};
  const auto units = to_mean_units(Loads{9, 50, 3, 20, 31, 7}, 4);
  LayerState state(units, shape, start_placement(units, shape));
  Random random(1);
  for (int step = 0; step < 500; ++step) {
    const std::int32_t a = random.below(12), b = random.below(12);
    if (state.rank_of(a) != state.rank_of(b) && !state.swap_duplicates(a, b)) state.swap(a, b);
    const std::int32_t expert = random.below(6), slot = random.below(12);
    if (state.replicas(state.expert_at(slot)) > 1 && !state.holds(state.rank_of(slot), expert)) {
      state.retarget(slot, expert);
    }
  }
  const LayerState fresh(units, shape, state.expert_of_slot());

  for (std::int32_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(state.rank_load(rank), fresh.rank_load(rank));
    for (std::int32_t expert = 0; expert < 6; ++expert) {
      EXPECT_EQ(state.holds(rank, expert), fresh.holds(rank, expert));
    }
  }
  EXPECT_EQ(duplicates(state.expert_of_slot(), shape), 0);
}

TEST(EvenSplit, FindsTheHalfClosestToTheWantedSum) {
  Random random(9);
  for (int draw = 0; draw < 50; ++draw) {
    Loads loads(8);
    for (std::int64_t& load : loads) load = random.below(1000);
    const std::int64_t wanted = random.below(4000);
    std::int64_t closest = 1 << 30;
    for (unsigned items = 0; items < 256; ++items) {
      if (std::popcount(items) != 4) continue;
      std::int64_t sum = 0;
      for (int item = 0; item < 8; ++item) sum += items >> item & 1 ? loads[item] : 0;
      closest = std::min(closest, std::abs(sum - wanted));
    }
    const auto half = even_split(loads, wanted);
    std::int64_t sum = 0;
    for (int item = 0; item < 8; ++item) sum += half[item] ? loads[item] : 0;

    EXPECT_EQ(std::ranges::count(half, true), 4);
    EXPECT_EQ(std::abs(sum - wanted), closest);
  }
}

}  // namespace
}  // namespace trireme::eplb
