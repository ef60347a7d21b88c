#include <gtest/gtest.h>

#include <random>

#include "models/memory_plan.h"
#include "simulated_group.h"

namespace trireme::test {
namespace {

using engine::Request;

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  bool one_in(std::int64_t n) { return number(1, n) == 1; }

 private:
  std::mt19937 engine_;
};

Request random_request(Dice& dice, std::int64_t index, std::int64_t max_seq_len) {
  Request request;
  request.index = index;
  request.num_samples = dice.one_in(4) ? static_cast<std::int32_t>(dice.number(2, 4)) : 1;
  // Few different beginnings, so that prefixes are shared.
  const std::int64_t family = dice.number(0, 2);
  const std::int64_t num_shared = dice.number(0, 20);
  const std::int64_t length = std::min(max_seq_len - 1, num_shared + dice.number(1, 12));
  for (std::int64_t i = 0; i < length; ++i) {
    request.prompt_tokens.push_back(
        static_cast<std::int32_t>(i < num_shared ? (family * 7 + i) % ToyModel::kVocabSize
                                                 : dice.number(0, ToyModel::kVocabSize - 1)));
  }
  engine::SamplingParams& params = request.params;
  params.seed = static_cast<std::uint64_t>(dice.number(0, 3));
  params.max_tokens = dice.number(1, 24);
  params.ignore_eos = dice.one_in(3);
  params.repetition_penalty = dice.one_in(3) ? 1.5 : 1;
  params.min_tokens = dice.one_in(3) ? dice.number(0, params.max_tokens) : 0;
  params.logprobs = dice.one_in(3) ? 0 : -1;
  params.prompt_logprobs = dice.one_in(4);
  if (params.prompt_logprobs && dice.one_in(3)) params.max_tokens = params.min_tokens = 0;
  if (dice.one_in(4)) params.stop_token_ids = {5, 17};
  return request;
}

// Everything from the smallest memory that holds one sequence to plenty.
SimulatedRun random_run(Dice& dice) {
  SimulatedRun run;
  run.limits.num_lanes = static_cast<int>(dice.number(1, 3));
  run.limits.max_batch_size = dice.number(1, 6);
  run.max_seq_len = dice.number(8, 48);
  run.limits.enable_chunked_prefill = !dice.one_in(4);
  run.limits.max_num_tokens = run.limits.enable_chunked_prefill
                                  ? dice.number(run.limits.max_batch_size, 20)
                                  : run.max_seq_len;
  run.tokens_per_block = dice.number(2, 6);
  run.plan_ahead = dice.number(0, 1);
  run.enable_reuse = !dice.one_in(4);
  run.eos_token_ids = {0, 1};
  const std::int64_t num_groups = dice.number(1, 2);
  for (std::int64_t group = 0; group < num_groups; ++group) {
    const std::int64_t window = dice.one_in(2) ? 0 : dice.number(2, 14);
    const std::int64_t least = models::blocks_per_sequence(
        window, run.max_seq_len, run.limits.max_num_tokens, run.tokens_per_block);
    run.pools.push_back({window, static_cast<std::int32_t>(
                                     least + (dice.one_in(3) ? 0 : dice.number(0, 2 * least)))});
  }
  return run;
}

TEST(SchedulerRandom, EveryRowIsWhatTheModelAnswersItAlone) {
  std::int64_t num_preemptions = 0, reused_tokens = 0, num_void_rows = 0, num_rows = 0;
  for (unsigned seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Dice dice(seed);
    const SimulatedRun run = random_run(dice);
    std::vector<Request> requests;
    std::vector<std::int64_t> arrive_at;
    for (std::int64_t i = 0, count = dice.number(1, 12); i < count; ++i) {
      requests.push_back(random_request(dice, i, run.max_seq_len));
      arrive_at.push_back((arrive_at.empty() ? 0 : arrive_at.back()) + dice.number(0, 3) / 2);
    }
    ToyModel model;
    for (const engine::PoolShape& pool : run.pools) model.windows.push_back(pool.window);

    const SimulatedRun::Outcome outcome = run.run(requests, arrive_at);

    ASSERT_FALSE(outcome.is_stuck);
    std::int64_t num_output_tokens = 0, num_expected = 0;
    for (const Request& request : requests) {
      for (std::int32_t sample = 0; sample < request.num_samples; ++sample) {
        ++num_expected;
        const auto found = outcome.completions.find({request.index, sample});
        ASSERT_NE(found, outcome.completions.end()) << "row " << request.index;
        const engine::Completion& row = found->second;
        ASSERT_EQ(row.error, "");
        ASSERT_EQ(row.output_tokens,
                  model.generate(request, sample, run.eos_token_ids, run.max_seq_len))
            << "row " << request.index << " sample " << sample;
        if (request.params.prompt_logprobs) {
          const std::vector<float> scores(row.prompt_logprobs.begin() + 1,
                                          row.prompt_logprobs.end());
          ASSERT_EQ(scores, ToyModel::score(request.prompt_tokens)) << "row " << request.index;
        }
        const std::size_t num_logprobs = request.params.logprobs < 0 ? 0 : row.output_tokens.size();
        ASSERT_EQ(row.logprobs.size(), num_logprobs);
        num_output_tokens += std::ssize(row.output_tokens);
      }
    }
    ASSERT_EQ(std::ssize(outcome.completions), num_expected);
    // What lies behind an end, and nothing else, was named as void.
    ASSERT_EQ(outcome.num_drawn, num_output_tokens);
    num_preemptions += outcome.num_preemptions;
    reused_tokens += outcome.reused_tokens;
    num_void_rows += outcome.num_void_rows;
    num_rows += num_expected;
    if (testing::Test::HasFailure()) return;
  }

  // The cases are worth their time.
  EXPECT_GT(num_rows, 5000);
  EXPECT_GT(num_preemptions, 500);
  EXPECT_GT(reused_tokens, 5000);
  EXPECT_GT(num_void_rows, 500);
}

}  // namespace
}  // namespace trireme::test
