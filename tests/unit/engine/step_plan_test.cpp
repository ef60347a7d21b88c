#include "engine/step_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/slot_table.h"

namespace trireme::test {
namespace {

using namespace trireme::engine;

AdmittedSlot empty_slot(std::int32_t slot, std::int32_t prompt_length = 1) {
  AdmittedSlot admitted;
  admitted.slot = slot;
  admitted.prompt_length = prompt_length;
  return admitted;
}

StepPlan full_plan() {
  StepPlan plan;
  plan.step = (std::int64_t{1} << 40) + 3;
  plan.lane = 2;
  plan.placement_version = 5;
  plan.tokens_of_rank = {6, 0, 9, 1};
  plan.freed_slots = {4, 1};
  AdmittedSlot slot;
  slot.slot = 4;
  slot.index = (std::int64_t{1} << 33) + 1;
  slot.sample = 3;
  slot.prompt_length = 5;
  slot.num_generated = 2;
  slot.params.min_tokens = 1;
  slot.params.temperature = 0.7;
  slot.params.top_p = 0.9;
  slot.params.min_p = 0.05;
  slot.params.top_k = 40;
  slot.params.seed = 0xfedcba9876543210U;
  slot.params.presence_penalty = -0.5;
  slot.params.frequency_penalty = 0.25;
  slot.params.repetition_penalty = 1.1;
  slot.params.logprobs = 3;
  slot.params.logit_bias = {{7, -100.0F}, {8, 0.5F}};
  slot.banned = {2, 3};
  slot.tokens = {10, 11, 12, 13, 14, 15, 16};
  plan.admitted = {slot, empty_slot(1)};
  plan.blocks = {{4, 0, 0, 17}, {4, 1, 0, 3}};
  plan.rows = {{.slot = 0,
                .flags = PlanRow::kDecode | PlanRow::kSamples,
                .first_position = 8,
                .num_tokens = 1},
               {.slot = 4,
                .first_position = 0,
                .num_tokens = 5,
                .score_begin = 1,
                .score_end = 5,
                .num_recomputed = 2}};
  plan.token_ids = {10, 11, 12, 13, 14, 15};
  plan.void_rows = {1};
  return plan;
}

std::string refusal_of(const PlanHeader& header, std::span<const std::int32_t> body) {
  try {
    deserialize(header, body);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::internal);
    return error.what();
  }
  return {};
}

TEST(StepPlan, TravelsUnchanged) {
  const StepPlan sent = full_plan();
  const PlanBytes bytes = serialize(sent);

  const StepPlan read = deserialize(bytes.header, bytes.body);

  EXPECT_EQ(read.step, sent.step);
  EXPECT_EQ(read.lane, sent.lane);
  EXPECT_FALSE(read.is_last);
  EXPECT_EQ(read.placement_version, sent.placement_version);
  EXPECT_EQ(read.tokens_of_rank, sent.tokens_of_rank);
  EXPECT_EQ(read.freed_slots, sent.freed_slots);
  EXPECT_EQ(read.blocks, sent.blocks);
  EXPECT_EQ(read.rows, sent.rows);
  EXPECT_EQ(read.token_ids, sent.token_ids);
  EXPECT_EQ(read.void_rows, sent.void_rows);
  ASSERT_EQ(read.admitted.size(), 2U);
  // Every field of an admitted slot counts: what is written again must be the same words.
  EXPECT_EQ(serialize(read).body, bytes.body);
  const AdmittedSlot& slot = read.admitted[0];
  EXPECT_EQ(slot.index, sent.admitted[0].index);
  EXPECT_EQ(slot.sample, 3);
  EXPECT_EQ(slot.num_generated, 2);
  EXPECT_EQ(slot.params.seed, sent.admitted[0].params.seed);
  EXPECT_EQ(slot.params.temperature, 0.7);
  EXPECT_EQ(slot.params.top_p, 0.9);
  EXPECT_EQ(slot.params.min_p, 0.05);
  EXPECT_EQ(slot.params.top_k, 40);
  EXPECT_EQ(slot.params.min_tokens, 1);
  EXPECT_EQ(slot.params.presence_penalty, -0.5);
  EXPECT_EQ(slot.params.frequency_penalty, 0.25);
  EXPECT_EQ(slot.params.repetition_penalty, 1.1);
  EXPECT_EQ(slot.params.logprobs, 3);
  EXPECT_EQ(slot.params.logit_bias, sent.admitted[0].params.logit_bias);
  EXPECT_EQ(slot.banned, sent.admitted[0].banned);
  EXPECT_EQ(slot.tokens, sent.admitted[0].tokens);
}

TEST(StepPlan, TheLastOneSaysSo) {
  StepPlan plan;
  plan.is_last = true;
  plan.is_abort = true;
  const PlanBytes bytes = serialize(plan);

  const StepPlan read = deserialize(bytes.header, bytes.body);

  EXPECT_TRUE(bytes.body.empty());
  EXPECT_TRUE(read.is_last);
  EXPECT_TRUE(read.is_abort);
}

TEST(StepPlan, IsRefusedCutAtAnyWord) {
  const PlanBytes bytes = serialize(full_plan());

  for (std::size_t words = 0; words < bytes.body.size(); ++words) {
    EXPECT_NE(refusal_of(bytes.header, std::span(bytes.body).first(words)), "") << words;
  }
  std::vector<std::int32_t> longer = bytes.body;
  longer.push_back(0);
  EXPECT_NE(refusal_of(bytes.header, longer), "");
}

TEST(StepPlan, IsRefusedIfAHeaderFieldDoesNotFitTheBody) {
  const PlanBytes bytes = serialize(full_plan());
  const auto expect_refused = [&](auto change) {
    for (const std::int32_t by : {1, -1, 1 << 30, -(1 << 30)}) {
      PlanHeader header = bytes.header;
      change(header, by);
      EXPECT_NE(refusal_of(header, bytes.body), "") << by;
    }
  };

  expect_refused([](PlanHeader& header, std::int32_t by) { header.magic ^= by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.version += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_ranks += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_freed += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_admitted += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_blocks += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_rows += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_ids += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_void += by; });
  expect_refused([](PlanHeader& header, std::int32_t by) { header.num_tokens += by; });
  PlanHeader header = bytes.header;
  header.body_words = -1;
  EXPECT_THROW(check_header(header), Error);
}

TEST(StepPlan, AChangedWordIsReadOrRefusedButNeverReadBeyondTheBody) {
  const PlanBytes bytes = serialize(full_plan());

  int num_refused = 0;
  for (std::size_t word = 0; word < bytes.body.size(); ++word) {
    for (const std::int32_t value : {-1, 0x7fffffff, static_cast<std::int32_t>(0x80000000U)}) {
      std::vector<std::int32_t> body = bytes.body;
      body[word] = value;
      num_refused += refusal_of(bytes.header, body).empty() ? 0 : 1;
    }
  }

  EXPECT_GT(num_refused, 20) << "lengths and sums are checked";
}

TEST(SlotTable, FollowsPlans) {
  SlotTable slots(3, 2);
  StepPlan plan;
  plan.admitted = {empty_slot(1, 4)};
  plan.blocks = {{1, 0, 0, 5}, {1, 1, 2, 6}};
  slots.apply(plan);

  EXPECT_TRUE(slots[1].is_used);
  EXPECT_EQ(slots[1].prompt_length, 4);
  EXPECT_EQ(slots[1].block_tables[0], std::vector<std::int32_t>{5});
  EXPECT_EQ(slots[1].block_tables[1], (std::vector<std::int32_t>{-1, -1, 6}));
  slots[1].last_token = 8;
  // A slot may be freed and given away by the same plan.
  plan.freed_slots = {1};
  plan.blocks.clear();
  slots.apply(plan);
  EXPECT_EQ(slots[1].last_token, -1);
  EXPECT_TRUE(slots[1].block_tables[0].empty());
}

TEST(SlotTable, RefusesWhatNoLeaderMayAsk) {
  SlotTable slots(2, 1);
  StepPlan admits;
  admits.admitted = {empty_slot(0)};
  slots.apply(admits);
  const auto expect_refused = [&](const StepPlan& plan) { EXPECT_THROW(slots.apply(plan), Error); };

  expect_refused(admits);
  StepPlan plan;
  plan.freed_slots = {1};
  expect_refused(plan);
  plan.freed_slots = {2};
  expect_refused(plan);
  plan.freed_slots = {-1};
  expect_refused(plan);
  plan.freed_slots.clear();
  plan.blocks = {{1, 0, 0, 0}};
  expect_refused(plan);
  plan.blocks = {{0, 1, 0, 0}};
  expect_refused(plan);
  plan.blocks = {{0, 0, -1, 0}};
  expect_refused(plan);
}

}  // namespace
}  // namespace trireme::test
