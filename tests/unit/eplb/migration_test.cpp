#include "eplb/migration.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "eplb/random.h"

namespace trireme::eplb {
namespace {

using Experts = std::vector<std::int32_t>;

TEST(Migration, CopiesNothingWhereNothingChanges) {
  EXPECT_TRUE(plan_migration(Experts{0, 1, 2, 0}, Experts{0, 1, 2, 0}, 2).empty());
}

TEST(Migration, PrefersASourceOnTheSameRank) {
  const auto copies = plan_migration(Experts{0, 1, 0, 2}, Experts{0, 1, 0, 0}, 2);

  ASSERT_EQ(copies.size(), 1U);
  EXPECT_EQ(copies[0], (SlotCopy{0, 2, 3, 1, 1}));
}

TEST(Migration, SpreadsSourcesOverRanks) {
  // Expert 0 is on ranks 0 and 1 and goes to ranks 2, 3, 4 and 5.
  const auto copies = plan_migration(Experts{0, 0, 2, 3, 4, 5}, Experts{0, 0, 0, 0, 0, 0}, 1);

  ASSERT_EQ(copies.size(), 4U);
  EXPECT_EQ(std::ranges::count(copies, 0, &SlotCopy::from_rank), 2);
  EXPECT_EQ(std::ranges::count(copies, 1, &SlotCopy::from_rank), 2);
}

TEST(Migration, MakesEverySlotWhatThePlacementSays) {
  Random random(2);
  for (int draw = 0; draw < 100; ++draw) {
    Experts old, placed;
    for (int slot = 0; slot < 12; ++slot) old.push_back(slot % 5);
    for (int slot = 0; slot < 12; ++slot) placed.push_back(random.below(5));
    auto slots = old;
    for (const SlotCopy& copy : plan_migration(old, placed, 3)) {
      EXPECT_EQ(old[copy.from_slot], copy.expert);
      EXPECT_EQ(copy.from_slot / 3, copy.from_rank);
      EXPECT_EQ(copy.to_slot / 3, copy.to_rank);
      slots[copy.to_slot] = old[copy.from_slot];
    }

    EXPECT_EQ(slots, placed);
  }
}

TEST(Migration, LeavesEmptySlotsAlone) {
  EXPECT_TRUE(plan_migration(Experts{0, 1, -1, 2}, Experts{0, 1, -1, -1}, 2).empty());
}

TEST(Migration, RefusesAnExpertThatIsNowhere) {
  EXPECT_THROW(plan_migration(Experts{0, 1}, Experts{0, 2}, 1), Error);
}

}  // namespace
}  // namespace trireme::eplb
