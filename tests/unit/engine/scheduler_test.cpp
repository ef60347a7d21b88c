#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <numeric>

namespace trireme::test {
namespace {

using namespace trireme::engine;

constexpr std::int64_t kTokensPerBlock = 4;

Request request_of(std::int64_t index, std::int64_t num_prompt, std::int64_t max_tokens = 8) {
  Request request;
  request.index = index;
  request.prompt_tokens.resize(static_cast<std::size_t>(num_prompt));
  std::iota(request.prompt_tokens.begin(), request.prompt_tokens.end(),
            static_cast<std::int32_t>(100 * index));
  request.params.max_tokens = max_tokens;
  return request;
}

/// A scheduler whose model always draws the same token; steps are run by hand.
class SchedulerTest : public testing::Test {
 protected:
  void make(SchedulerLimits limits, std::int32_t num_blocks, bool enable_reuse = true,
            std::int64_t max_seq_len = 64) {
    rules_.max_seq_len = max_seq_len;
    rules_.eos_token_ids = {kEos};
    scheduler_ = std::make_unique<Scheduler>(
        limits, BlockManager({{0, num_blocks}}, kTokensPerBlock, enable_reuse, 1), rules_,
        [this](Completion completion) { finished_.push_back(std::move(completion)); });
  }

  StepPlan plan(std::int64_t step, int lane = 0) { return scheduler_->plan(step, lane); }
  void collect(const StepPlan& plan, std::int32_t token = kToken) {
    std::vector<RowResult> results(plan.rows.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      results[i].token = token;
      results[i].scores.assign(static_cast<std::size_t>(plan.rows[i].num_scores()), -1.0F);
    }
    scheduler_->collect(plan.lane, results);
  }
  /// A step, read before the next is planned.
  StepPlan run_step(std::int64_t step) {
    StepPlan made = plan(step);
    if (!made.rows.empty()) collect(made);
    return made;
  }
  /// The prompts that a plan works on, in order of its rows: (index, tokens), negative for a
  /// decode.
  std::vector<std::pair<std::int64_t, std::int64_t>> work_of(const StepPlan& plan) {
    for (const AdmittedSlot& slot : plan.admitted) in_slot_[slot.slot] = slot.index;
    std::vector<std::pair<std::int64_t, std::int64_t>> work;
    for (const PlanRow& row : plan.rows) {
      work.emplace_back(in_slot_.at(row.slot), row.is_decode() ? -1 : row.num_tokens);
    }
    return work;
  }
  using Work = std::vector<std::pair<std::int64_t, std::int64_t>>;

  static constexpr std::int32_t kEos = 3;
  static constexpr std::int32_t kToken = 7;
  TextRules rules_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Completion> finished_;
  std::map<std::int32_t, std::int64_t> in_slot_;
};

TEST_F(SchedulerTest, AdmitsInOrderAndCutsThePromptThatDoesNotFitTheStep) {
  make({.max_batch_size = 4, .max_num_tokens = 10}, 32);
  for (const std::int64_t index : {0, 1, 2}) scheduler_->add(request_of(index, 6));

  const StepPlan first = run_step(0);
  const StepPlan second = run_step(1);

  EXPECT_EQ(work_of(first), (Work{{0, 6}, {1, 4}}));
  EXPECT_TRUE(first.rows[0].samples());
  EXPECT_FALSE(first.rows[1].samples());
  // Decodes first, then the rest of the prompt under way, then the next one's beginning.
  EXPECT_EQ(work_of(second), (Work{{0, -1}, {1, 2}, {2, 6}}));
  EXPECT_EQ(second.rows[1].first_position, 4);
}

TEST_F(SchedulerTest, WithoutChunkingWaitsForAStepWithRoomForThePrompt) {
  make({.max_batch_size = 4, .max_num_tokens = 10, .enable_chunked_prefill = false}, 32);
  for (const std::int64_t index : {0, 1}) scheduler_->add(request_of(index, 6));

  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 6}}));
  EXPECT_EQ(work_of(run_step(1)), (Work{{0, -1}, {1, 6}}));
}

TEST_F(SchedulerTest, NeverPlansMoreRowsThanTheBatchHolds) {
  make({.max_batch_size = 2, .max_num_tokens = 100}, 32);
  for (const std::int64_t index : {0, 1, 2}) scheduler_->add(request_of(index, 4, 2));

  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 4}, {1, 4}}));
  EXPECT_EQ(work_of(run_step(1)), (Work{{0, -1}, {1, -1}}));
  EXPECT_EQ(work_of(run_step(2)), (Work{{2, 4}}));
  EXPECT_EQ(finished_.size(), 2U);
}

TEST_F(SchedulerTest, PreemptsTheSequenceAdmittedLastAndTakesItUpAgain) {
  // Two prompts of one block each, three blocks: the second's decode would need a fourth.
  make({.max_batch_size = 4, .max_num_tokens = 32}, 3);
  scheduler_->add(request_of(0, 4, 4));
  scheduler_->add(request_of(1, 4, 4));

  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 4}, {1, 4}}));
  const StepPlan second = run_step(1);
  EXPECT_EQ(work_of(second), (Work{{0, -1}}));
  EXPECT_EQ(scheduler_->num_preemptions(), 1);
  EXPECT_EQ(second.freed_slots.size(), 1U);
  std::vector<StepPlan> plans;
  for (std::int64_t step = 2; finished_.size() < 2 && step < 20; ++step) {
    plans.push_back(run_step(step));
  }

  ASSERT_EQ(finished_.size(), 2U);
  EXPECT_EQ(finished_[0].request->index, 0);
  EXPECT_EQ(finished_[1].output_tokens, std::vector<std::int32_t>(4, kToken));
  const auto again = std::find_if(plans.begin(), plans.end(),
                                  [](const StepPlan& plan) { return !plan.admitted.empty(); });
  ASSERT_NE(again, plans.end());
  EXPECT_EQ(again->admitted[0].index, 1);
  EXPECT_EQ(again->admitted[0].num_generated, 1);
  // Its prompt's block was still cached: only the token drawn since is computed, for the first
  // time.
  EXPECT_EQ(work_of(*again), (Work{{1, 1}}));
  EXPECT_EQ(again->rows[0].num_recomputed, 0);
}

TEST_F(SchedulerTest, APreemptedSequenceGoesBeforeThoseThatWait) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 3);
  for (const std::int64_t index : {0, 1, 2}) scheduler_->add(request_of(index, 4, 4));

  for (std::int64_t step = 0; finished_.size() < 3 && step < 30; ++step) run_step(step);

  ASSERT_EQ(finished_.size(), 3U);
  EXPECT_GT(scheduler_->num_preemptions(), 0);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(finished_[i].request->index, static_cast<std::int64_t>(i));
  }
}

TEST_F(SchedulerTest, SaysWhatIsComputedAgainAfterAPreemption) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 3, false);
  scheduler_->add(request_of(0, 4, 4));
  scheduler_->add(request_of(1, 4, 4));

  std::vector<StepPlan> plans;
  for (std::int64_t step = 0; finished_.size() < 2 && step < 20; ++step) {
    plans.push_back(run_step(step));
  }

  ASSERT_EQ(finished_.size(), 2U);
  const auto again = std::find_if(plans.begin() + 1, plans.end(),
                                  [](const StepPlan& plan) { return !plan.admitted.empty(); });
  ASSERT_NE(again, plans.end());
  EXPECT_EQ(work_of(*again), (Work{{1, 5}}));
  EXPECT_EQ(again->rows[0].num_recomputed, 4);
}

TEST_F(SchedulerTest, APreemptedSequenceWaitsUntilItsLastTokenIsRead) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 3);
  scheduler_->add(request_of(0, 4, 2));
  scheduler_->add(request_of(1, 4, 2));

  const StepPlan first = plan(0);
  const StepPlan second = plan(1);  // row 1 is preempted while its first token is on its way
  collect(first);
  collect(second);
  ASSERT_EQ(scheduler_->num_preemptions(), 1);

  EXPECT_EQ(finished_.size(), 1U);
  const StepPlan third = plan(2);
  ASSERT_EQ(third.admitted.size(), 1U);
  EXPECT_EQ(third.admitted[0].num_generated, 1);
  EXPECT_EQ(third.token_ids.back(), kToken);
}

TEST_F(SchedulerTest, APreemptedSequenceMayEndByTheTokenThatWasOnItsWay) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 3);
  scheduler_->add(request_of(0, 4, 8));
  scheduler_->add(request_of(1, 4, 8));

  const StepPlan first = plan(0);
  const StepPlan second = plan(1);
  ASSERT_EQ(scheduler_->num_preemptions(), 1);
  std::vector<RowResult> results(2);
  results[0].token = kToken;
  results[1].token = kEos;
  scheduler_->collect(0, results);

  ASSERT_EQ(finished_.size(), 1U);
  EXPECT_EQ(finished_[0].request->index, 1);
  EXPECT_EQ(scheduler_->num_waiting(), 0);
  collect(second);
  EXPECT_TRUE(plan(2).void_rows.empty());
}

TEST_F(SchedulerTest, NamesTheRowPlannedBehindAnEndAsVoid) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 32);
  scheduler_->add(request_of(0, 4));
  scheduler_->add(request_of(1, 4));
  const StepPlan first = plan(0);
  const StepPlan second = plan(1);
  ASSERT_EQ(work_of(first), (Work{{0, 4}, {1, 4}}));
  ASSERT_EQ(work_of(second), (Work{{0, -1}, {1, -1}}));

  std::vector<RowResult> results(2);
  results[0].token = kToken;
  results[1].token = kEos;
  scheduler_->collect(0, results);
  const StepPlan third = plan(2);
  collect(second);

  ASSERT_EQ(finished_.size(), 1U);
  EXPECT_EQ(finished_[0].output_tokens, std::vector<std::int32_t>{kEos});
  EXPECT_EQ(third.void_rows, std::vector<std::int32_t>{1});
  EXPECT_EQ(third.freed_slots, std::vector<std::int32_t>{second.rows[1].slot});
  EXPECT_EQ(work_of(third), (Work{{0, -1}}));
  EXPECT_TRUE(plan(3).void_rows.empty());
}

TEST_F(SchedulerTest, PlansNothingBehindALimitThatItKnows) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 32, true, 6);
  scheduler_->add(request_of(0, 4, 1));
  scheduler_->add(request_of(1, 4, 100));

  const StepPlan first = plan(0);
  const StepPlan second = plan(1);
  collect(first);
  const StepPlan third = plan(2);
  collect(second);

  EXPECT_EQ(work_of(first), (Work{{0, 4}, {1, 4}}));
  EXPECT_EQ(work_of(second), (Work{{1, -1}}));
  EXPECT_TRUE(third.is_empty());
  ASSERT_EQ(finished_.size(), 2U);
  EXPECT_EQ(finished_[1].output_tokens.size(), 2U) << "max_seq_len holds two more";
  EXPECT_EQ(finished_[1].finish_reason, FinishReason::length);
  EXPECT_FALSE(scheduler_->has_work());
}

TEST_F(SchedulerTest, SamplesWaitForTheFirstOnesPrefillAndShareIt) {
  make({.max_batch_size = 8, .max_num_tokens = 6}, 32);
  Request request = request_of(0, 9);
  request.num_samples = 3;
  scheduler_->add(request);
  scheduler_->add(request_of(1, 2));

  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 6}}));
  const StepPlan second = run_step(1);
  const StepPlan third = run_step(2);

  // The prompt behind them need not wait.
  EXPECT_EQ(work_of(second), (Work{{0, 3}, {1, 2}}));
  EXPECT_EQ(work_of(third), (Work{{0, -1}, {1, -1}, {0, 1}, {0, 1}}));
  EXPECT_EQ(third.admitted[1].sample, 2);
  EXPECT_EQ(third.rows[2].first_position, 8);
  EXPECT_EQ(scheduler_->blocks().num_reused_tokens(), 16);
}

TEST_F(SchedulerTest, SamplesThatCannotShareDoNotWait) {
  Request request = request_of(0, 5);
  request.num_samples = 2;

  make({.max_batch_size = 8, .max_num_tokens = 32}, 32, false);
  scheduler_->add(request);
  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 5}, {0, 5}})) << "no reuse";

  make({.max_batch_size = 8, .max_num_tokens = 32}, 32);
  scheduler_->add(request_of(0, 5));
  request.params.prompt_logprobs = true;
  scheduler_->add(request);
  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 5}, {0, 5}, {0, 5}})) << "each is scored";

  make({.max_batch_size = 8, .max_num_tokens = 32}, 32);
  request = request_of(0, 4);
  request.num_samples = 2;
  scheduler_->add(request);
  EXPECT_EQ(work_of(run_step(0)), (Work{{0, 4}, {0, 4}})) << "its last block is never shared";
}

TEST_F(SchedulerTest, ScoresAPromptOnceOverChunks) {
  make({.max_batch_size = 4, .max_num_tokens = 4}, 32);
  Request request = request_of(0, 6, 0);
  request.params.prompt_logprobs = true;
  scheduler_->add(request);

  const StepPlan first = run_step(0);
  const StepPlan second = run_step(1);

  // A chunk in the middle carries the token behind it, whose score its last position gives.
  EXPECT_EQ(first.token_ids, (std::vector<std::int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(first.rows[0].num_scores(), 4);
  EXPECT_EQ(second.rows[0].num_scores(), 1);
  EXPECT_FALSE(second.rows[0].samples()) << "max_tokens is 0";
  ASSERT_EQ(finished_.size(), 1U);
  EXPECT_EQ(finished_[0].prompt_logprobs.size(), 6U);
  EXPECT_TRUE(finished_[0].output_tokens.empty());
}

TEST_F(SchedulerTest, AnswersAtOnceWhatNeedsNoStep) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 4, true, 32);
  Request broken = request_of(4, 4);
  broken.error = "no such file";

  scheduler_->add(request_of(0, 4, 0));
  scheduler_->add(request_of(1, 0));
  scheduler_->add(request_of(2, 32));
  scheduler_->add(request_of(3, 8, 16));
  scheduler_->add(broken);

  ASSERT_EQ(finished_.size(), 5U);
  EXPECT_EQ(finished_[0].finish_reason, FinishReason::length);
  EXPECT_EQ(finished_[1].error, "the prompt has no tokens");
  EXPECT_NE(finished_[2].error.find("max_seq_len is 32"), std::string::npos) << finished_[2].error;
  EXPECT_NE(finished_[3].error.find("host_memory_bytes"), std::string::npos) << finished_[3].error;
  EXPECT_EQ(finished_[4].error, "no such file");
  for (std::size_t i = 1; i < 5; ++i) {
    EXPECT_EQ(finished_[i].finish_reason, FinishReason::error) << i;
  }
  EXPECT_FALSE(scheduler_->has_work());
}

TEST_F(SchedulerTest, SpreadsSequencesEvenlyOverLanes) {
  make({.num_lanes = 2, .max_batch_size = 4, .max_num_tokens = 32}, 32);
  for (std::int64_t index = 0; index < 4; ++index) scheduler_->add(request_of(index, 4));

  const StepPlan lane_0 = plan(0, 0);
  const StepPlan lane_1 = plan(1, 1);
  collect(lane_0);
  const StepPlan again = plan(2, 0);

  EXPECT_EQ(work_of(lane_0), (Work{{0, 4}, {1, 4}}));
  EXPECT_EQ(work_of(lane_1), (Work{{2, 4}, {3, 4}}));
  EXPECT_EQ(work_of(again), (Work{{0, -1}, {1, -1}})) << "a sequence stays in its lane";
}

TEST_F(SchedulerTest, ARowWithoutAFiniteLogitEndsAsAnError) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 32);
  scheduler_->add(request_of(0, 4));

  collect(plan(0), -1);

  ASSERT_EQ(finished_.size(), 1U);
  EXPECT_NE(finished_[0].error.find("finite"), std::string::npos);
  EXPECT_TRUE(finished_[0].output_tokens.empty());
}

TEST_F(SchedulerTest, SendsTheKnownTokensWhereAPenaltyLooksAtThem) {
  make({.max_batch_size = 4, .max_num_tokens = 32}, 32);
  Request request = request_of(0, 3);
  request.params.min_tokens = 2;
  request.params.stop_token_ids = {9};
  scheduler_->add(request);
  request.params.presence_penalty = 0.5;
  request.params.ignore_eos = true;
  scheduler_->add(request);

  const StepPlan made = plan(0);

  EXPECT_TRUE(made.admitted[0].tokens.empty());
  EXPECT_EQ(made.admitted[0].banned, (std::vector<std::int32_t>{9, kEos}));
  EXPECT_EQ(made.admitted[1].tokens, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(made.admitted[1].banned, std::vector<std::int32_t>{9});
}

}  // namespace
}  // namespace trireme::test
