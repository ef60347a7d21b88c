// The company that a row keeps must not show in its result: whatever else runs beside it, in which
// order, in chunks of which size, with how much memory, planned ahead or not.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "company_rows.h"
#include "support/rank_layouts.h"
#include "support/requires_ranks.h"

namespace trireme::test {
namespace {

const std::string kDemo = std::string(TRIREME_TEST_DATA) + "/demo";
constexpr double kTiny = 1.1;  // sequences of max_seq_len that the KV memory holds

EngineCase case_of(const topology::Sizes& sizes) {
  EngineCase engine_case;
  engine_case.model_dir = kDemo;
  engine_case.sizes = sizes;
  engine_case.max_seq_len = 88;
  engine_case.tokens_per_block = 8;
  engine_case.eos_token_ids = {8189};
  if (sizes.pp == 4) engine_case.pipeline_layers = {2, 1, 1, 1};
  return engine_case;
}

class Company : public testing::Test {
 protected:
  /// The rows as single ranks answer them, with memory for all.
  EngineOutcome alone() {
    topology::Sizes sizes;
    sizes.dp = world_.size();
    return run_engines(world_, case_of(sizes), rows_.requests);
  }

  /// With so little memory that sequences are preempted, in small steps.
  EngineOutcome crowded(EngineCase engine_case, const std::vector<engine::Request>& requests) {
    engine_case.kv_bytes = kv_bytes_of(kTiny, engine_case);
    engine_case.max_num_tokens = 16;
    return run_engines(world_, engine_case, requests);
  }

  const comm::MpiComm world_ = comm::MpiComm::world();
  CompanyRows rows_ = company_rows(kDemo);
};

TEST_F(Company, PlainGreedyRowsAreTheReferences) {
  const EngineOutcome outcome = alone();

  EXPECT_EQ(outcome.num_preemptions, 0);
  std::size_t num_checked = 0;
  for (std::size_t row = 0; row < rows_.requests.size(); ++row) {
    if (rows_.reference_tokens[row].empty()) continue;
    ++num_checked;
    const auto found = outcome.rows.find({static_cast<std::int64_t>(row), 0});
    ASSERT_NE(found, outcome.rows.end());
    EXPECT_EQ(found->second.tokens, rows_.reference_tokens[row]) << "row " << row;
  }
  EXPECT_EQ(num_checked, 4U);
}

TEST_F(Company, DoesNotShowOnOneRank) {
  if (world_.size() > 1) GTEST_SKIP() << "for one rank";
  const EngineOutcome expected = alone();
  std::vector<engine::Request> shuffled = rows_.requests;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(5));

  for (const std::int64_t max_num_tokens : {16, 512}) {
    for (const std::int64_t plan_ahead : {0, 1}) {
      for (const bool enable_reuse : {true, false}) {
        SCOPED_TRACE(testing::Message() << "steps of " << max_num_tokens << ", plan_ahead "
                                        << plan_ahead << ", reuse " << enable_reuse);
        EngineCase engine_case = case_of({});
        engine_case.kv_bytes = kv_bytes_of(kTiny, engine_case);
        engine_case.max_num_tokens = max_num_tokens;
        engine_case.plan_ahead = plan_ahead;
        engine_case.enable_reuse = enable_reuse;

        const EngineOutcome outcome = run_engines(world_, engine_case, shuffled);

        expect_same_rows(outcome, expected);
        EXPECT_GT(outcome.num_preemptions, 0);
        EXPECT_EQ(outcome.reused_tokens > 0, enable_reuse);
      }
    }
  }
}

TEST_F(Company, DoesNotShowWithMemoryForAll) {
  if (world_.size() > 1) GTEST_SKIP() << "for one rank";
  const EngineOutcome expected = alone();
  EngineCase engine_case = case_of({});
  engine_case.max_num_tokens = 16;
  engine_case.enable_reuse = false;
  std::vector<engine::Request> backwards(rows_.requests.rbegin(), rows_.requests.rend());

  const EngineOutcome outcome = run_engines(world_, engine_case, backwards);

  expect_same_rows(outcome, expected);
  EXPECT_EQ(outcome.num_preemptions, 0);
}

TEST_F(Company, DoesNotShowWhenRowsRunAlone) {
  if (world_.size() > 1) GTEST_SKIP() << "for one rank";
  const EngineOutcome expected = alone();
  EngineCase engine_case = case_of({});
  engine_case.max_batch_size = 1;

  expect_same_rows(run_engines(world_, engine_case, rows_.requests), expected);
}

TEST_F(Company, DoesNotShowWithoutChunkedPrefill) {
  if (world_.size() > 1) GTEST_SKIP() << "for one rank";
  const EngineOutcome expected = alone();
  EngineCase engine_case = case_of({});
  engine_case.enable_chunked_prefill = false;
  engine_case.max_num_tokens = engine_case.max_seq_len;
  engine_case.kv_bytes = kv_bytes_of(kTiny, engine_case);

  const EngineOutcome outcome = run_engines(world_, engine_case, rows_.requests);

  expect_same_rows(outcome, expected);
  EXPECT_GT(outcome.num_preemptions, 0);
}

/// Layouts in which lanes, preemption and uneven work meet.
std::vector<topology::Sizes> layouts_of(int world) {
  const auto layout = [](int tp, int pp, int dp, int moe_tp, bool attention_dp) {
    topology::Sizes sizes;
    sizes.tp = tp;
    sizes.pp = pp;
    sizes.dp = dp;
    sizes.moe_tp = moe_tp;
    sizes.moe_ep = tp / moe_tp;
    sizes.attention_dp = attention_dp;
    return sizes;
  };
  if (world == 2) {
    return {layout(1, 2, 1, 1, false), layout(2, 1, 1, 1, true), layout(2, 1, 1, 2, false)};
  }
  return {layout(1, 4, 1, 1, false), layout(4, 1, 1, 1, true), layout(2, 2, 1, 1, true),
          layout(2, 1, 2, 1, true), layout(1, 2, 2, 1, false)};
}

TEST_F(Company, DoesNotShowInOtherLayoutsWithPreemption) {
  TRIREME_REQUIRES_RANKS(world_, 2);
  const EngineOutcome expected = alone();

  for (const topology::Sizes& sizes : layouts_of(world_.size())) {
    for (const std::int64_t plan_ahead : {1, 0}) {
      SCOPED_TRACE(testing::Message()
                   << "tp" << sizes.tp << " pp" << sizes.pp << " dp" << sizes.dp
                   << (sizes.attention_dp ? " attention_dp" : "") << " plan_ahead " << plan_ahead);
      EngineCase engine_case = case_of(sizes);
      engine_case.plan_ahead = plan_ahead;

      const EngineOutcome outcome = crowded(engine_case, rows_.requests);

      expect_same_rows(outcome, expected);
      EXPECT_GT(outcome.num_preemptions, 0);
      EXPECT_GT(outcome.reused_tokens, 0);
    }
  }
}

TEST_F(Company, ExpertsAreCountedOnceForEachTokenInAnyCompany) {
  topology::Sizes alone;
  alone.dp = world_.size();
  EngineCase roomy = case_of(alone);
  roomy.enable_reuse = false;
  roomy.plan_ahead = 0;
  const EngineOutcome expected = run_engines(world_, roomy, rows_.requests);
  std::int64_t num_tokens = 0;  // the last token of a row is never an input
  for (const auto& [key, row] : expected.rows) {
    if (!row.error.empty()) continue;
    const auto& request = rows_.requests[static_cast<std::size_t>(key.first)];
    num_tokens += std::ssize(request.prompt_tokens) + std::ssize(row.tokens) - 1;
  }
  std::map<std::int32_t, std::int64_t> by_layer;
  for (const auto& [key, count] : expected.by_expert) by_layer[key.first] += count;
  ASSERT_EQ(by_layer.size(), 5U);
  for (const auto& [layer, count] : by_layer) EXPECT_EQ(count, 4 * num_tokens) << layer;

  std::vector<topology::Sizes> layouts = {alone};
  if (world_.size() > 1) {
    const auto more = layouts_of(world_.size());
    layouts.insert(layouts.end(), more.begin(), more.end());
  }
  for (const topology::Sizes& sizes : layouts) {
    for (const std::int64_t plan_ahead : {0, 1}) {
      SCOPED_TRACE(testing::Message() << layout_name(sizes) << " plan_ahead " << plan_ahead);
      EngineCase engine_case = case_of(sizes);
      engine_case.enable_reuse = false;
      engine_case.plan_ahead = plan_ahead;

      const EngineOutcome outcome = crowded(engine_case, rows_.requests);

      EXPECT_GT(outcome.num_preemptions, 0);
      EXPECT_EQ(outcome.by_expert, expected.by_expert);
    }
  }
}

TEST_F(Company, DoesNotShowWhereOtherRanksHaveLittleOrNothingToDo) {
  TRIREME_REQUIRES_RANKS(world_, 2);
  const EngineOutcome expected = alone();
  EngineOutcome expected_few;
  // Rows are dealt by turns: the first group gets one long row more, the last ones none.
  const std::vector<engine::Request> few = {rows_.requests[13]};
  for (const auto& [key, row] : expected.rows) {
    if (key.first == few[0].index) expected_few.rows.emplace(key, row);
  }

  for (const topology::Sizes& sizes : layouts_of(world_.size())) {
    SCOPED_TRACE(testing::Message() << "tp" << sizes.tp << " pp" << sizes.pp << " dp" << sizes.dp
                                    << (sizes.attention_dp ? " attention_dp" : ""));
    expect_same_rows(crowded(case_of(sizes), few), expected_few);
    EXPECT_TRUE(crowded(case_of(sizes), {}).rows.empty()) << "no row at all";
  }
}

}  // namespace
}  // namespace trireme::test
