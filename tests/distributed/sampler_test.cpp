#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "comm/factory.h"
#include "tests/unit/engine/sampling_cases.h"

namespace trireme::engine {
namespace {

using test::SamplingCases;

/// Of log-probabilities down to −40, in float32 with exponentials good to 1e-7.
constexpr float kLogprobTolerance = 4e-6F;

std::unique_ptr<comm::Communicator> all_ranks() {
  return comm::make_communicator(comm::MpiComm::world(), "mpi");
}

std::unique_ptr<comm::Communicator> this_rank_alone() {
  return comm::make_communicator(comm::MpiComm(), "mpi");
}

void expect_all_near(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    EXPECT_NEAR(actual[i], expected[i], kLogprobTolerance) << "value " << i;
  }
}

TEST(SamplerOverRanks, GivesTheTokensAndLogProbabilitiesOfOneRank) {
  const auto group = all_ranks();
  const auto alone = this_rank_alone();
  for (const std::int64_t vocab_size : {3, 5003}) {
    const SamplingCases cases = test::all_combinations(vocab_size, 21);

    const auto sampled = test::sample_shard(cases, *group);

    const auto expected = test::sample_shard(cases, *alone);
    EXPECT_EQ(sampled.size(), expected.size());
    for (std::size_t i = 0; i < sampled.size(); ++i) {
      SCOPED_TRACE(cat("vocabulary ", vocab_size, " row ", i));
      EXPECT_EQ(sampled[i].token, expected[i].token);
      EXPECT_EQ(sampled[i].top_ids, expected[i].top_ids);
      expect_all_near({sampled[i].logprob}, {expected[i].logprob});
      expect_all_near(sampled[i].top_logprobs, expected[i].top_logprobs);
    }
  }
}

/// What rank 0 has.
std::vector<float> of_rank_0(std::vector<float> values, comm::Communicator& group) {
  group.broadcast({values.data(), DType::float32, {static_cast<std::int64_t>(values.size())}}, 0);
  return values;
}

TEST(SamplerOverRanks, GivesEveryRankTheSameBits) {
  const auto group = all_ranks();
  const SamplingCases cases = test::all_combinations(1009, 22);

  const auto sampled = test::sample_shard(cases, *group);

  std::vector<float> values;
  for (const SampledToken& one : sampled) {
    values.push_back(static_cast<float>(one.token));
    values.push_back(one.logprob);
    values.insert(values.end(), one.top_logprobs.begin(), one.top_logprobs.end());
  }
  EXPECT_EQ(values, of_rank_0(values, *group));
}

TEST(SamplerOverRanks, ScoresAsOneRank) {
  constexpr std::int64_t kRows = 40, kVocabulary = 2003;
  std::mt19937 generator(23);
  std::normal_distribution<float> normal(0, 5);
  std::vector<float> logits(kRows * kVocabulary);
  for (float& logit : logits) logit = normal(generator);
  std::vector<ScoreRow> rows;
  for (std::int64_t row = 0; row < kRows; ++row) {
    rows.push_back({row, static_cast<std::int32_t>(50 * row)});
  }
  const auto score_with = [&](comm::Communicator& group) {
    const auto shard = test::shard_of(kVocabulary, group.rank(), group.size());
    std::vector<float> own = test::shard_logits(logits, kVocabulary, shard);
    Sampler sampler(shard, kVocabulary, group);
    return sampler.score({own.data(), DType::float32, {kRows, shard.num_columns}}, rows);
  };
  const auto group = all_ranks();

  const std::vector<float> scores = score_with(*group);

  expect_all_near(scores, score_with(*this_rank_alone()));
  EXPECT_EQ(scores, of_rank_0(scores, *group));
}

}  // namespace
}  // namespace trireme::engine
