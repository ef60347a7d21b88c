#include "engine/expert_counter.h"

#include <gtest/gtest.h>

#include <vector>

namespace trireme::engine {
namespace {

double now_s = 0;
double test_clock() { return now_s; }

/// Two layers of four experts, two choices a token; ranks are experts / 2.
class Counting : public testing::Test {
 protected:
  Counting() { now_s = 100; }

  static layers::MoeSpec spec() { return {.layers = {1, 3}, .num_experts = 4, .top_k = 2}; }
  static ExpertCounter::Options options() {
    return {.is_on = true, .keeps_choices = true, .ep_size = 2, .clock = test_clock};
  }

  /// Runs a step of the lane in which every token chooses experts 0 and 3 in the first layer, 1 and
  /// 2 in the other.
  void run(ExpertCounter& counter, const std::vector<PlanRow>& rows, int lane = 0) {
    StepPlan plan;
    plan.lane = lane;
    plan.rows = rows;
    const auto choices = counter.open(plan.lane, plan, slots_);
    const std::size_t half = choices.size() / 2;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      const std::int32_t expert = i < half ? (i % 2 == 0 ? 0 : 3) : (i % 2 == 0 ? 1 : 2);
      choices[i] = {expert, expert / 2};
    }
  }

  SlotTable slots_{4, 1};
};

PlanRow row_of(std::int32_t slot, std::int32_t num_tokens, std::int32_t num_recomputed = 0) {
  PlanRow row;
  row.slot = slot;
  row.num_tokens = num_tokens;
  row.num_recomputed = num_recomputed;
  return row;
}

TEST_F(Counting, WaitsUntilTheVoidRowsAreKnown) {
  ExpertCounter counter(spec(), options(), 1);

  run(counter, {row_of(0, 3), row_of(1, 1), row_of(2, 1)});
  EXPECT_EQ(counter.counts().tokens, 0);
  counter.settle(0, std::vector<std::int32_t>{1});

  EXPECT_EQ(counter.counts().tokens, 4);
  EXPECT_EQ(counter.counts().windows,
            (std::vector<std::vector<std::int64_t>>{{4, 0, 0, 4, 0, 4, 4, 0}}));
  EXPECT_EQ(counter.counts().domains.at(0).by_rank, (std::vector<std::int64_t>{4, 4, 4, 4}));
  EXPECT_EQ(counter.counts().choices.size(), 4U * 2 * 2);
}

TEST_F(Counting, LeavesOutTokensThatAreComputedAgain) {
  ExpertCounter counter(spec(), options(), 1);

  run(counter, {row_of(0, 5, 3), row_of(1, 2, 7)});
  counter.settle(0, {});

  EXPECT_EQ(counter.counts().tokens, 2);
  EXPECT_EQ(counter.counts().windows[0][0], 2);
}

TEST_F(Counting, KeepsLanesApart) {
  ExpertCounter counter(spec(), options(), 2);

  run(counter, {row_of(0, 1)}, 0);
  run(counter, {row_of(1, 2)}, 1);
  counter.settle(1, {});

  EXPECT_EQ(counter.counts().tokens, 2);
  counter.settle(0, std::vector<std::int32_t>{0});
  EXPECT_EQ(counter.counts().tokens, 2);
}

TEST_F(Counting, MakesWindowsLongerInsteadOfMore) {
  ExpertCounter counter(spec(), options(), 1);
  for (int second = 0; second < 200; ++second) {
    now_s = 100 + second;
    run(counter, {row_of(0, 1)});
    counter.settle(0, {});
  }

  const ExpertLoadCounts& counts = counter.counts();
  EXPECT_EQ(counts.window_s, 4);
  ASSERT_EQ(counts.windows.size(), 50U);
  for (const auto& window : counts.windows) EXPECT_EQ(window[0], 4);
}

TEST_F(Counting, TakesDomainsFromTheSlots) {
  StepPlan plan;
  plan.admitted.resize(2);
  plan.admitted[0].slot = 0;
  plan.admitted[0].domain = 77;
  plan.admitted[1].slot = 1;
  slots_.apply(plan);
  ExpertCounter counter(spec(), options(), 1);

  run(counter, {row_of(0, 3), row_of(1, 2)});
  counter.settle(0, {});

  EXPECT_EQ(counter.counts().domains.at(77).by_expert[0], 3);
  EXPECT_EQ(counter.counts().domains.at(0).by_expert[0], 2);
}

TEST_F(Counting, PutsDomainsWithoutRoomTogether) {
  ExpertCounter counter(spec(), options(), 1);
  for (std::uint64_t domain = 2; domain < 2 + ExpertCounter::kMaxDomains + 5; ++domain) {
    StepPlan plan;
    if (domain > 2) plan.freed_slots = {0};
    plan.admitted.resize(1);
    plan.admitted[0].domain = domain;
    slots_.apply(plan);
    run(counter, {row_of(0, 1)});
    counter.settle(0, {});
  }

  EXPECT_EQ(counter.counts().domains.at(kOtherDomains).by_expert[0], 5);
  EXPECT_EQ(counter.counts().domains.size(), ExpertCounter::kMaxDomains + 1);
}

TEST_F(Counting, AsksForNothingWhereAnotherRankCounts) {
  ExpertCounter::Options off = options();
  off.is_on = false;
  ExpertCounter counter(spec(), off, 1);
  StepPlan plan;
  plan.rows = {row_of(0, 1)};

  EXPECT_TRUE(counter.open(plan.lane, plan, slots_).empty());
  EXPECT_TRUE(ExpertCounter({}, options(), 1).open(plan.lane, plan, slots_).empty());
}

}  // namespace
}  // namespace trireme::engine
