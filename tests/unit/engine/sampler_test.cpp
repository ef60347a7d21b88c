#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "base/error.h"
#include "engine/noise.h"
#include "tests/unit/engine/reference_sampler.h"
#include "tests/unit/engine/sampling_cases.h"
#include "tests/unit/engine/thread_group.h"

namespace trireme::engine {
namespace {

using test::SamplingCases;
using test::ThreadGroup;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
/// Of log-probabilities down to −40, in float32 with exponentials good to 1e-7.
constexpr float kLogprobTolerance = 4e-6F;

void expect_near(float actual, float expected) {
  if (actual == expected) return;  // −inf
  EXPECT_NEAR(actual, expected, kLogprobTolerance);
}

void expect_same(const SampledToken& actual, const SampledToken& expected) {
  EXPECT_EQ(actual.token, expected.token);
  expect_near(actual.logprob, expected.logprob);
  EXPECT_EQ(actual.top_ids, expected.top_ids);
  ASSERT_EQ(actual.top_logprobs.size(), expected.top_logprobs.size());
  for (std::size_t i = 0; i < expected.top_logprobs.size(); ++i) {
    expect_near(actual.top_logprobs[i], expected.top_logprobs[i]);
  }
}

std::vector<SampledToken> sample_with(int num_ranks, const SamplingCases& cases) {
  ThreadGroup group(num_ranks);
  std::vector<std::vector<SampledToken>> by_rank(static_cast<std::size_t>(num_ranks));
  group.run([&](comm::Communicator& member) {
    by_rank[static_cast<std::size_t>(member.rank())] = test::sample_shard(cases, member);
  });
  for (const auto& sampled : by_rank) {
    for (std::size_t i = 0; i < sampled.size(); ++i) {
      EXPECT_EQ(sampled[i].token, by_rank[0][i].token) << "row " << i;
      EXPECT_EQ(sampled[i].logprob, by_rank[0][i].logprob) << "row " << i;
      EXPECT_EQ(sampled[i].top_ids, by_rank[0][i].top_ids) << "row " << i;
      EXPECT_EQ(sampled[i].top_logprobs, by_rank[0][i].top_logprobs) << "row " << i;
    }
  }
  return by_rank[0];
}

/// Rows of the same parameters over given logits.
SamplingCases cases_of(const std::vector<std::vector<float>>& rows, const SamplingParams& params) {
  SamplingCases cases;
  cases.vocab_size = static_cast<std::int64_t>(rows[0].size());
  for (const auto& row : rows) cases.logits.insert(cases.logits.end(), row.begin(), row.end());
  cases.params.assign(rows.size(), params);
  cases.prompts.resize(rows.size());
  cases.generated.resize(rows.size());
  cases.banned.resize(rows.size());
  return cases;
}

SamplingParams sampled_params() {
  SamplingParams params;
  params.temperature = 1;
  return params;
}

/// Tokens of `count` equal prompts.
std::vector<std::int32_t> equal_prompts(std::vector<float> logits, const SamplingParams& params,
                                        std::size_t count) {
  ThreadGroup group(1);
  std::vector<SampledToken> sampled;
  group.run([&](comm::Communicator& member) {
    const auto size = static_cast<std::int64_t>(logits.size());
    Sampler sampler(test::shard_of(size, 0, 1), size, member);
    std::vector<SampleRow> rows(count);
    for (std::size_t i = 0; i < count; ++i) {
      rows[i].params = &params;
      rows[i].key = noise_key(11, i, 0);
      rows[i].position = 20;
    }
    sampled = sampler.sample({logits.data(), DType::float32, {1, size}}, rows);
  });
  std::vector<std::int32_t> tokens;
  for (const SampledToken& one : sampled) tokens.push_back(one.token);
  return tokens;
}

/// Whether counts fit probabilities: p > 0.001, by the cube root of χ² over its degrees of freedom,
/// which is nearly normal (Wilson and Hilferty, 1931).
bool fits(const std::vector<std::int32_t>& tokens, const std::vector<double>& probabilities) {
  std::vector<double> counts(probabilities.size(), 0);
  for (const std::int32_t token : tokens) counts.at(static_cast<std::size_t>(token)) += 1;
  double chi_square = 0, degrees = -1;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = probabilities[i] * static_cast<double>(tokens.size());
    if (expected == 0) {
      if (counts[i] > 0) return false;
      continue;
    }
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++degrees;
  }
  const double spread = 2 / (9 * degrees);
  return (std::cbrt(chi_square / degrees) - (1 - spread)) / std::sqrt(spread) < 3.09;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> probabilities;
  double total = 0;
  for (const float logit : logits) {
    probabilities.push_back(std::exp(double{logit} / temperature));
    total += probabilities.back();
  }
  for (double& probability : probabilities) probability /= total;
  return probabilities;
}

class SamplerShards : public testing::TestWithParam<int> {};

TEST_P(SamplerShards, AgreeWithTheReferenceForAllCombinationsOfOptions) {
  for (const std::int64_t vocab_size : {3, 61, 5003}) {
    const SamplingCases cases = test::all_combinations(vocab_size, 1);
    const std::vector<SampleRow> rows = cases.rows();

    const auto sampled = sample_with(GetParam(), cases);

    ASSERT_EQ(sampled.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      SCOPED_TRACE(cat("vocabulary ", vocab_size, " row ", i));
      expect_same(sampled[i], test::reference_sample(cases.logits_of(i), rows[i]));
    }
  }
}

TEST_P(SamplerShards, DrawWithoutFiltersAsTheReferenceFromALargeVocabulary) {
  constexpr std::size_t kVocabulary = 30011;
  std::mt19937 generator(2);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> logits(24, std::vector<float>(kVocabulary));
  for (std::size_t row = 0; row < logits.size(); ++row) {
    for (float& logit : logits[row]) logit = normal(generator) * static_cast<float>(row) / 6;
  }
  SamplingCases cases = cases_of(logits, sampled_params());
  cases.params[7].temperature = 0.01;
  cases.params[23].temperature = 0.01;

  const auto sampled = sample_with(GetParam(), cases);

  const std::vector<SampleRow> rows = cases.rows();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(sampled[i].token, test::reference_sample(logits[i], rows[i]).token) << "row " << i;
  }
}

TEST_P(SamplerShards, TakeSoManyListsThatTheyTravelInParts) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> logits(400, std::vector<float>(4100));
  for (auto& row : logits) {
    for (float& logit : row) logit = normal(generator);
  }
  SamplingParams params = sampled_params();
  params.top_k = 1024;
  const SamplingCases cases = cases_of(logits, params);

  const auto sampled = sample_with(GetParam(), cases);

  const std::vector<SampleRow> rows = cases.rows();
  for (std::size_t i = 0; i < rows.size(); i += 40) {
    EXPECT_EQ(sampled[i].token, test::reference_sample(logits[i], rows[i]).token) << "row " << i;
  }
  EXPECT_EQ(sampled.size(), rows.size());
}

TEST_P(SamplerShards, BreakTiesByTheLowestId) {
  const std::vector<float> logits{1, 5, 2, 5, 5, 0, 5};
  SamplingParams greedy;
  greedy.logprobs = 3;

  const auto sampled = sample_with(GetParam(), cases_of({logits}, greedy));

  EXPECT_EQ(sampled[0].token, 1);
  EXPECT_EQ(sampled[0].top_ids, (std::vector<std::int32_t>{1, 3, 4}));
}

TEST_P(SamplerShards, EndARowWithoutAFiniteLogitAsAnError) {
  const std::vector<std::vector<float>> logits{{kNan, kNan, kNan, kNan, kNan},
                                               {-kInfinity, -kInfinity, kNan, -kInfinity, kNan},
                                               {-kInfinity, kInfinity, kNan, kInfinity, kNan}};
  for (const double temperature : {0.0, 1.0}) {
    for (const double top_p : {1.0, 0.5}) {
      for (const std::int64_t top_k : {0, 2}) {
        SamplingParams params;
        params.temperature = temperature;
        params.top_p = top_p;
        params.top_k = top_k;
        params.logprobs = 2;
        for (const SampledToken& sampled : sample_with(GetParam(), cases_of(logits, params))) {
          EXPECT_EQ(sampled.token, -1);
          EXPECT_TRUE(sampled.top_ids.empty());
        }
      }
    }
  }
}

TEST_P(SamplerShards, RankNanBelowAllAndPlusInfinityAboveAll) {
  SamplingParams params = sampled_params();
  params.logprobs = 5;

  const auto sampled = sample_with(GetParam(), cases_of({{kNan, -kInfinity, 3, kNan, -kInfinity},
                                                         {0, 7, kInfinity, kNan, kInfinity}},
                                                        params));

  EXPECT_EQ(sampled[0].token, 2);
  EXPECT_EQ(sampled[0].logprob, 0);
  EXPECT_EQ(sampled[0].top_ids, (std::vector<std::int32_t>{2, 1, 4, 0, 3}));
  EXPECT_EQ(sampled[0].top_logprobs[1], -kInfinity);
  EXPECT_EQ(sampled[0].top_logprobs[4], -kInfinity);
  EXPECT_EQ(sampled[1].token, 2);
  EXPECT_FLOAT_EQ(sampled[1].logprob, std::log(0.5F));
  EXPECT_EQ(sampled[1].top_ids, (std::vector<std::int32_t>{2, 4, 1, 0, 3}));
  EXPECT_EQ(sampled[1].top_logprobs[2], -kInfinity);
}

TEST_P(SamplerShards, ApplyPenaltiesBiasesAndBansInTheirOrder) {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.presence_penalty = 0.5;
  params.frequency_penalty = 0.25;
  params.logit_bias = {{3, 5.0F}, {4, 50.0F}};
  params.logprobs = 0;
  // After penalties: 8/2 - 0.5 - 2·0.25 = 3, 7/2 = 3.5, -1·2 - 0.75 = -2.75, then + 5 = 3.25 - 1.
  SamplingCases cases = cases_of({{8, 7, -1, -1, 0}, {8, 6, -1, -1, 0}}, params);
  cases.prompts = {{1, 1, 0}, {1, 1, 0}};
  cases.generated = {{0, 0, 2, 3}, {0, 0, 2, 3}};
  cases.banned = {{4}, {4}};
  cases.params[1].logit_bias[0].second = 5.5F;

  const auto sampled = sample_with(GetParam(), cases);

  EXPECT_EQ(sampled[0].token, 1);  // 3, 3.5, -2.75, 2.25
  EXPECT_EQ(sampled[1].token, 0);  // 3, 3, -2.75, 2.75
  expect_near(sampled[0].logprob,
              static_cast<float>(test::reference_logprob(cases.logits_of(0), 1)));
}

TEST_P(SamplerShards, EndARowAsAnErrorIfAllIsBanned) {
  SamplingCases cases = cases_of({{1, 2, 3, kNan}}, sampled_params());
  cases.banned = {{0, 1, 2}};

  EXPECT_EQ(sample_with(GetParam(), cases)[0].token, -1);
}

TEST_P(SamplerShards, ScoreTargets) {
  const std::int64_t vocab_size = 1009;
  std::mt19937 generator(4);
  std::normal_distribution<float> normal(0, 6);
  std::vector<float> logits(50 * 1009);
  for (float& logit : logits) logit = normal(generator);
  std::fill_n(logits.begin(), 1009, kNan);
  logits[1009 + 5] = kNan;
  std::vector<ScoreRow> rows;
  for (std::int64_t row = 0; row < 50; ++row) {
    rows.push_back({row, static_cast<std::int32_t>(row == 1 ? 5 : 20 * row + 1)});
  }
  ThreadGroup group(GetParam());
  std::vector<std::vector<float>> by_rank(static_cast<std::size_t>(GetParam()));

  group.run([&](comm::Communicator& member) {
    const auto shard = test::shard_of(vocab_size, member.rank(), member.size());
    std::vector<float> own = test::shard_logits(logits, vocab_size, shard);
    Sampler sampler(shard, vocab_size, member);
    by_rank[static_cast<std::size_t>(member.rank())] =
        sampler.score({own.data(), DType::float32, {50, shard.num_columns}}, rows);
  });

  for (const auto& scores : by_rank) {
    ASSERT_EQ(scores.size(), rows.size());
    EXPECT_TRUE(std::isnan(scores[0]));
    EXPECT_EQ(scores[1], -kInfinity);
    for (std::size_t i = 2; i < rows.size(); ++i) {
      const auto row = std::span<const float>(logits).subspan(i * 1009, 1009);
      expect_near(scores[i], static_cast<float>(test::reference_logprob(row, rows[i].target)));
      EXPECT_EQ(scores[i], by_rank[0][i]) << "row " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, SamplerShards, testing::Values(1, 2, 3, 4));

/// Collectives of a second call over a peaked row, with the same parameters.
int collectives(int num_ranks, const SamplingParams& params) {
  std::vector<float> logits(4000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = -0.1F * static_cast<float>(i);
  const SamplingCases cases = cases_of({logits, logits, logits}, params);
  ThreadGroup group(num_ranks);
  int first = 0;
  group.run([&](comm::Communicator& member) {
    const auto shard = test::shard_of(cases.vocab_size, member.rank(), num_ranks);
    std::vector<float> own = test::shard_logits(cases.logits, cases.vocab_size, shard);
    Sampler sampler(shard, cases.vocab_size, member);
    const tensor::TensorView view(own.data(), DType::float32, {3, shard.num_columns});
    sampler.sample(view, cases.rows());
    if (member.rank() == 0) first = group.num_collectives();
    sampler.sample(view, cases.rows());
  });
  return group.num_collectives() - first;
}

TEST(Sampler, NeedsOneCollectiveForAStep) {
  SamplingParams filtered = sampled_params();
  filtered.top_p = 0.9;
  filtered.min_p = 0.01;
  filtered.logprobs = 5;
  SamplingParams of_few = filtered;
  of_few.top_k = 40;

  EXPECT_EQ(collectives(3, SamplingParams{}), 1);
  EXPECT_EQ(collectives(3, sampled_params()), 1);
  EXPECT_EQ(collectives(3, filtered), 1);
  EXPECT_EQ(collectives(3, of_few), 1);
}

TEST(Sampler, DoesNotCommunicateAlone) {
  SamplingParams params = sampled_params();
  params.top_k = 2000;
  params.logprobs = 5;

  EXPECT_EQ(collectives(1, params), 0);
}

TEST(Sampler, KeepsTiesAtTheTopKThresholdByLowestId) {
  SamplingParams params = sampled_params();
  params.top_k = 3;

  const auto tokens = equal_prompts(std::vector<float>(100, 1.5F), params, 300);

  EXPECT_EQ(std::set<std::int32_t>(tokens.begin(), tokens.end()),
            (std::set<std::int32_t>{0, 1, 2}));
}

TEST(Sampler, KeepsTheSmallestSetThatReachesTopP) {
  SamplingParams half = sampled_params();
  half.top_p = 0.5;
  SamplingParams little = half;
  little.top_p = 1e-9;

  const auto of_half = equal_prompts({2, 2, 2, 2}, half, 300);
  const auto of_little = equal_prompts({2, 2, 2, 2}, little, 300);

  EXPECT_EQ(std::set<std::int32_t>(of_half.begin(), of_half.end()), (std::set<std::int32_t>{0, 1}));
  EXPECT_EQ(std::set<std::int32_t>(of_little.begin(), of_little.end()),
            (std::set<std::int32_t>{0}));
}

TEST(Sampler, TakesTopPAfterTopK) {
  SamplingParams params = sampled_params();
  params.top_k = 2;
  params.top_p = 0.6;  // of all four it takes three, of the two best two

  const auto tokens = equal_prompts({2, 2, 2, 2}, params, 300);

  EXPECT_EQ(std::set<std::int32_t>(tokens.begin(), tokens.end()), (std::set<std::int32_t>{0, 1}));
}

TEST(Sampler, DrawsEqualPromptsBySoftmax) {
  std::mt19937 generator(5);
  std::normal_distribution<float> normal;
  std::vector<float> logits(60);
  for (float& logit : logits) logit = normal(generator);
  SamplingParams hot = sampled_params();
  hot.temperature = 1.5;
  SamplingParams of_few = sampled_params();
  of_few.top_k = 2;

  EXPECT_TRUE(fits(equal_prompts(logits, sampled_params(), 10000), softmax(logits, 1)));
  EXPECT_TRUE(fits(equal_prompts(logits, hot, 10000), softmax(logits, 1.5)));
  EXPECT_FALSE(fits(equal_prompts(logits, hot, 10000), softmax(logits, 1.2)));
  EXPECT_TRUE(fits(equal_prompts({1, -3, 1.5, 0}, of_few, 10000),
                   {1 / (1 + std::exp(0.5)), 0, 1 / (1 + std::exp(-0.5)), 0}));
}

TEST(Sampler, DoesNotMindTheCompanyOfARow) {
  const SamplingCases cases = test::all_combinations(300, 6);
  const std::vector<SampleRow> rows = cases.rows();
  const std::vector<SampleRow> reversed(rows.rbegin(), rows.rend());
  std::vector<float> logits = cases.logits;
  const tensor::TensorView view(logits.data(), DType::float32,
                                {static_cast<std::int64_t>(rows.size()), 300});
  ThreadGroup group(1);

  group.run([&](comm::Communicator& member) {
    Sampler sampler(test::shard_of(300, 0, 1), 300, member);
    const auto together = sampler.sample(view, rows);
    const auto backwards = sampler.sample(view, reversed);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto alone = sampler.sample(view, std::span(rows).subspan(i, 1))[0];
      EXPECT_EQ(alone.token, together[i].token);
      EXPECT_EQ(alone.logprob, together[i].logprob);
      EXPECT_EQ(backwards[rows.size() - 1 - i].token, together[i].token);
    }
    EXPECT_EQ(logits, cases.logits);
  });
}

TEST(Sampler, RefusesShardsThatAreNotTheVocabulary) {
  std::vector<float> logits(8);
  const tensor::TensorView view(logits.data(), DType::float32, {1, 8});
  ThreadGroup group(1);

  group.run([&](comm::Communicator& member) {
    Sampler sampler({0, 7, 8}, 8, member);
    EXPECT_THROW(sampler.score(view, std::vector<ScoreRow>{{0, 3}}), Error);
    Sampler other({0, 8, 8}, 8, member);
    EXPECT_THROW(other.score(view, std::vector<ScoreRow>{{0, 8}}), Error);
    EXPECT_THROW(other.score(view, std::vector<ScoreRow>{{1, 0}}), Error);
  });
}

}  // namespace
}  // namespace trireme::engine
