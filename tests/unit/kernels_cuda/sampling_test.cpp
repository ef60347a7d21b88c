#include "kernels/sampling.h"

#include <algorithm>
#include <limits>
#include <random>

#include "device_data.h"
#include "engine/noise.h"
#include "engine/sampler.h"
#include "tests/unit/engine/sampling_cases.h"
#include "tests/unit/engine/thread_group.h"

namespace trireme::kernels {
namespace {

using engine::SampledToken;
using engine::SampleRow;
using engine::SamplingParams;
using engine::ScoreRow;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int32_t kUnwritten = -77;

/// Rows of logits, padded to a stride, and rows that sample from them.
struct Batch {
  std::int64_t vocab_size = 0, stride = 0;
  std::vector<float> logits;
  std::vector<SamplingParams> params;
  std::vector<std::int64_t> logits_rows;  ///< by row; -1: padding

  explicit Batch(std::int64_t size, std::int64_t padding = 0)
      : vocab_size(size), stride(size + padding) {}

  void add(const std::vector<float>& values, const SamplingParams& how) {
    logits_rows.push_back(static_cast<std::int64_t>(params.size()));
    logits.insert(logits.end(), values.begin(), values.end());
    logits.resize(logits.size() + static_cast<std::size_t>(stride - vocab_size), 1e30F);
    params.push_back(how);
  }
  std::int64_t num_logits_rows() const { return static_cast<std::int64_t>(logits.size()) / stride; }
  std::vector<SampleRow> rows() const {
    std::vector<SampleRow> all(params.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].logits_row = logits_rows[i];
      all[i].params = &params[i];
      all[i].key = engine::noise_key(17, i, i % 3);
      all[i].position = static_cast<std::int64_t>(100 + i);
    }
    return all;
  }
};

SamplingRow device_row(const SampleRow& row, std::int32_t slot) {
  return {.position = row.position,
          .key = row.key,
          .top_p = row.params->top_p,
          .min_p = row.params->min_p,
          .logits_row = static_cast<std::int32_t>(row.logits_row),
          .temperature = static_cast<float>(row.params->temperature),
          .top_k = static_cast<std::int32_t>(row.params->top_k),
          .num_top = row.params->logprobs,
          .slot = slot};
}

/// Logits and a workspace on the GPU, for several draws.
class GpuSampler {
 public:
  explicit GpuSampler(const Batch& batch)
      : batch_(batch),
        logits_(batch.logits),
        workspace_(std::vector<std::uint8_t>(
            cuda::sampling_workspace_bytes(kMostRows, batch.vocab_size), 0)) {}

  std::vector<SampledToken> sample(const std::vector<SampleRow>& rows) {
    const auto num_rows = static_cast<std::int64_t>(rows.size());
    std::vector<SamplingRow> there;
    for (const SampleRow& row : rows) {
      there.push_back(device_row(row, static_cast<std::int32_t>(rows.size() - 1 - there.size())));
    }
    constexpr std::int64_t kMaxTop = kMostTopLogprobs;
    const OnDevice<SamplingRow> rows_there(there);
    const OnDevice<std::int32_t> last(std::vector<std::int32_t>(rows.size(), kUnwritten)),
        tokens(std::vector<std::int32_t>(rows.size(), kUnwritten)), top_ids(rows.size() * kMaxTop);
    const OnDevice<float> logprobs(rows.size()), top_logprobs(rows.size() * kMaxTop);
    const tensor::Stream stream;
    cuda::sample({.logits = logits_.data(),
                  .logits_stride = batch_.stride,
                  .vocab_size = batch_.vocab_size,
                  .rows = rows_there.data(),
                  .num_rows = num_rows,
                  .max_top = kMaxTop,
                  .last_token = last.data(),
                  .tokens = tokens.data(),
                  .logprobs = logprobs.data(),
                  .top_ids = top_ids.data(),
                  .top_logprobs = top_logprobs.data(),
                  .workspace = workspace_.data()},
                 stream.get());
    stream.synchronize();
    last_ = last.values();
    return collect(rows, tokens.values(), logprobs.values(), top_ids.values(),
                   top_logprobs.values());
  }
  const std::vector<std::int32_t>& last_token() const { return last_; }

 private:
  static constexpr std::int64_t kMostRows = 512;

  static std::vector<SampledToken> collect(const std::vector<SampleRow>& rows,
                                           const std::vector<std::int32_t>& tokens,
                                           const std::vector<float>& logprobs,
                                           const std::vector<std::int32_t>& top_ids,
                                           const std::vector<float>& top_logprobs) {
    std::vector<SampledToken> sampled(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      sampled[i].token = tokens[i];
      if (rows[i].params->logprobs < 0) continue;
      sampled[i].logprob = logprobs[i];
      const std::size_t first = i * kMostTopLogprobs;
      for (std::size_t at = first; at < first + static_cast<std::size_t>(rows[i].params->logprobs);
           ++at) {
        if (top_ids[at] < 0) break;
        sampled[i].top_ids.push_back(top_ids[at]);
        sampled[i].top_logprobs.push_back(top_logprobs[at]);
      }
    }
    return sampled;
  }

  const Batch& batch_;
  OnDevice<float> logits_;
  OnDevice<std::uint8_t> workspace_;
  std::vector<std::int32_t> last_;
};

/// Calls function(sampler, logits) with the CPU's sampler of one rank.
template <typename Function>
void with_cpu_sampler(const Batch& batch, const Function& function) {
  test::ThreadGroup group(1);
  std::vector<float> logits;
  for (std::int64_t row = 0; row < batch.num_logits_rows(); ++row) {
    const auto begin = batch.logits.begin() + row * batch.stride;
    logits.insert(logits.end(), begin, begin + batch.vocab_size);
  }
  group.run([&](comm::Communicator& member) {
    engine::Sampler sampler(test::shard_of(batch.vocab_size, 0, 1), batch.vocab_size, member);
    function(sampler, tensor::TensorView(logits.data(), DType::float32,
                                         {batch.num_logits_rows(), batch.vocab_size}));
  });
}

std::vector<SampledToken> sample_on_cpu(const Batch& batch) {
  std::vector<SampledToken> sampled;
  with_cpu_sampler(batch, [&](engine::Sampler& sampler, const tensor::TensorView& logits) {
    sampled = sampler.sample(logits, batch.rows());
  });
  return sampled;
}

void expect_near(float actual, float expected) {
  if (actual == expected) return;  // −inf
  EXPECT_NEAR(actual, expected, 1e-5F);
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

void expect_as_on_cpu(const Batch& batch) {
  const auto expected = sample_on_cpu(batch);

  const auto actual = GpuSampler(batch).sample(batch.rows());

  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const SamplingParams& params = batch.params[i];
    SCOPED_TRACE(cat("vocabulary ", batch.vocab_size, " row ", i, " temperature ",
                     params.temperature, " top_k ", params.top_k, " top_p ", params.top_p,
                     " min_p ", params.min_p, " logprobs ", params.logprobs));
    expect_same(actual[i], expected[i]);
  }
}

/// Peaked, flat, or of few different values, so that there are ties.
std::vector<float> random_logits(std::int64_t size, std::size_t form, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  std::vector<float> logits(static_cast<std::size_t>(size));
  for (float& logit : logits) {
    const float value = normal(generator);
    logit = form % 3 == 0 ? 4 * value : form % 3 == 1 ? value / 4 : std::round(value) * 2;
  }
  return logits;
}

std::vector<SamplingParams> all_params() {
  constexpr std::int32_t kLogprobs[] = {-1, 0, 1, 5, 20};
  std::vector<SamplingParams> all;
  for (const double temperature : {0.0, 0.3, 1.0, 2.0}) {
    for (const std::int64_t top_k : {0, 1, 5, 50, 1000}) {
      for (const double top_p : {1.0, 0.1, 0.9, 0.999}) {
        for (const double min_p : {0.0, 0.05}) {
          SamplingParams params;
          params.temperature = temperature;
          params.top_k = top_k;
          params.top_p = top_p;
          params.min_p = min_p;
          params.logprobs = kLogprobs[all.size() % 5];
          all.push_back(params);
        }
      }
    }
  }
  return all;
}

SamplingParams with(double temperature, std::int64_t top_k, double top_p, double min_p = 0) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.logprobs = 20;
  return params;
}

const std::vector<SamplingParams> kFew = {with(0, 0, 1),        with(1, 0, 1),   with(0.7, 0, 0.5),
                                          with(1, 3, 1),        with(2, 3, 0.6), with(1, 0, 1, 0.3),
                                          with(1, 0, 0.9, 0.3), with(1, 2, 1e-9)};

class GpuSampling : public testing::TestWithParam<std::int64_t> {};

TEST_P(GpuSampling, DrawsAsTheCpuForAllCombinationsOfOptions) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(5);
  Batch batch(GetParam(), 3);
  std::size_t form = 0;
  for (const SamplingParams& params : all_params()) {
    batch.add(random_logits(GetParam(), form++, generator), params);
  }

  expect_as_on_cpu(batch);
}

TEST_P(GpuSampling, DrawsAsTheCpuFromTiesNanAndInfinities) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(6);
  Batch batch(GetParam());
  for (const SamplingParams& params : kFew) {
    batch.add(std::vector<float>(static_cast<std::size_t>(GetParam()), 1.5F), params);
    for (const float replaced_by : {kNan, -kInfinity, kInfinity, 0.0F, -0.0F}) {
      for (const std::uint32_t one_in : {1, 2, 50}) {
        std::vector<float> logits = random_logits(GetParam(), one_in, generator);
        for (float& logit : logits) {
          if (generator() % one_in == 0) logit = replaced_by;
        }
        batch.add(logits, params);
        logits.back() = -3;
        batch.add(logits, params);
      }
    }
  }

  expect_as_on_cpu(batch);
}

TEST_P(GpuSampling, ScoresAsTheCpu) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(7);
  Batch batch(GetParam(), 1);
  std::vector<std::int32_t> targets;
  for (std::size_t row = 0; row < 20; ++row) {
    std::vector<float> logits = random_logits(GetParam(), row, generator);
    targets.push_back(static_cast<std::int32_t>(generator() % GetParam()));
    if (row == 3) std::fill(logits.begin(), logits.end(), kNan);
    if (row == 4) std::fill(logits.begin(), logits.end(), -kInfinity);
    if (row == 5) logits[static_cast<std::size_t>(targets.back())] = kNan;
    if (row == 6) logits.front() = logits.back() = kInfinity;
    batch.add(logits, {});
  }
  std::vector<ScoreRow> rows;
  for (const std::int32_t target : targets) {
    rows.push_back({static_cast<std::int64_t>(rows.size()), target});
  }
  std::vector<float> expected;
  with_cpu_sampler(batch, [&](engine::Sampler& sampler, const tensor::TensorView& logits) {
    expected = sampler.score(logits, rows);
  });

  const OnDevice<float> logits_there(batch.logits), scores(rows.size());
  const OnDevice<std::int32_t> targets_there(targets);
  const tensor::Stream stream;
  cuda::Scoring scoring{.logits = logits_there.data(),
                        .logits_stride = batch.stride,
                        .vocab_size = batch.vocab_size,
                        .targets = targets_there.data(),
                        .num_rows = static_cast<std::int64_t>(rows.size()),
                        .logprobs = scores.data()};
  cuda::score(scoring, stream.get());
  // The last rows' targets on named rows, and one that is left out.
  const OnDevice<std::int32_t> named(std::vector<std::int32_t>{18, -1, 19});
  const OnDevice<std::int32_t> named_targets(
      std::vector<std::int32_t>{targets[18], targets[0], targets[19]});
  const OnDevice<float> named_scores(std::vector<float>(3, 7.0F));
  scoring.logits_rows = named.data();
  scoring.targets = named_targets.data();
  scoring.num_rows = 3;
  scoring.logprobs = named_scores.data();
  cuda::score(scoring, stream.get());
  stream.synchronize();

  const std::vector<float> actual = scores.values();
  EXPECT_EQ(named_scores.values(), (std::vector<float>{actual[18], 7.0F, actual[19]}));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(cat("vocabulary ", GetParam(), " row ", i));
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(actual[i]));
    } else {
      expect_near(actual[i], expected[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, GpuSampling,
                         testing::Values(1, 7, 100, 4096, 4099, 32000, 151936));

TEST(GpuSampling, DrawsAsTheCpuWhereNoListDecides) {
  TRIREME_REQUIRES_GPU();
  constexpr std::int64_t kVocabulary = 20011;
  std::mt19937 generator(8);
  Batch batch(kVocabulary);
  for (const SamplingParams& params :
       {with(1, 4096, 1), with(1, 4097, 1), with(1.5, 12000, 0.8), with(1, 12000, 0.8, 0.2),
        with(2, 0, 0.97), with(2, 0, 0.999, 0.01), with(0.01, 3000, 1), with(0.02, 9000, 0.9)}) {
    for (std::size_t form = 0; form < 3; ++form) {
      batch.add(random_logits(kVocabulary, form, generator), params);
    }
    batch.add(std::vector<float>(kVocabulary, -2.5F), params);
  }

  expect_as_on_cpu(batch);
}

TEST(GpuSampling, KeepsAsManyOfEqualIdsAsTheCpu) {
  TRIREME_REQUIRES_GPU();
  Batch batch(6);
  for (const SamplingParams& params : {with(1, 0, 0.5), with(1, 3, 1), with(0.5, 4, 0.5)}) {
    for (int i = 0; i < 100; ++i) batch.add({2, 2, 2, 2, 2, 2}, params);
  }

  expect_as_on_cpu(batch);
}

TEST(GpuSampling, DrawsAsTheCpuFromLargeLogits) {
  TRIREME_REQUIRES_GPU();
  constexpr std::int64_t kVocabulary = 9001;
  std::mt19937 generator(9);
  Batch batch(kVocabulary);
  for (const float size : {1e-30F, 1e-3F, 1e3F, 1e6F, 1e30F, 3e37F}) {
    for (const SamplingParams& params : kFew) {
      std::vector<float> logits = random_logits(kVocabulary, 0, generator);
      for (float& logit : logits) logit *= size / 16;
      batch.add(logits, params);
    }
  }

  expect_as_on_cpu(batch);
}

TEST(GpuSampling, LeavesPaddingAloneAndTakesRowsInAnyOrder) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(10);
  Batch batch(5003);
  const std::vector<SamplingParams> all = all_params();
  for (std::size_t i = 0; i < 300; ++i) {
    batch.add(random_logits(5003, i, generator), all[7 * i % all.size()]);
  }
  std::reverse(batch.logits_rows.begin(), batch.logits_rows.end());
  const auto expected = sample_on_cpu(batch);
  std::vector<SampleRow> rows = batch.rows();
  for (std::size_t i = 0; i < rows.size(); i += 9) rows[i].logits_row = -1;
  GpuSampler sampler(batch);

  const auto sampled = sampler.sample(rows);

  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int32_t wanted = i % 9 == 0 ? kUnwritten : expected[i].token;
    EXPECT_EQ(sampled[i].token, wanted) << "row " << i;
    EXPECT_EQ(sampler.last_token()[rows.size() - 1 - i], wanted) << "row " << i;
  }
}

TEST(GpuSampling, DoesNotMindTheCompanyOfARow) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(11);
  Batch batch(32000);
  const std::vector<SamplingParams> all = all_params();
  for (std::size_t i = 0; i < 300; ++i) {
    batch.add(random_logits(32000, i, generator), all[7 * i % all.size()]);
  }
  const std::vector<SampleRow> rows = batch.rows();
  GpuSampler sampler(batch);

  const auto together = sampler.sample(rows);

  for (std::size_t i = 0; i < rows.size(); i += 7) {
    const SampledToken alone = sampler.sample(std::vector<SampleRow>{rows[i]})[0];
    SCOPED_TRACE(cat("row ", i));
    EXPECT_EQ(alone.token, together[i].token);
    EXPECT_EQ(alone.logprob, together[i].logprob);
    EXPECT_EQ(alone.top_ids, together[i].top_ids);
    EXPECT_EQ(alone.top_logprobs, together[i].top_logprobs);
  }
}

}  // namespace
}  // namespace trireme::kernels
