#include "tests/unit/engine/sampling_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/noise.h"

namespace trireme::test {
namespace {

using engine::SamplingParams;
using Generator = std::mt19937;

std::vector<SamplingParams> all_params(std::int64_t vocab_size) {
  std::vector<SamplingParams> all;
  for (const double temperature : {0.0, 0.5, 1.0, 1.7}) {
    for (const std::int64_t top_k :
         {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, std::int64_t{1500}, vocab_size + 5}) {
      for (const double top_p : {1.0, 0.9, 0.3}) {
        for (const double min_p : {0.0, 0.05}) {
          for (const std::int32_t logprobs : {-1, 0, 5}) {
            SamplingParams params;
            params.temperature = temperature;
            params.top_k = top_k;
            params.top_p = top_p;
            params.min_p = min_p;
            params.logprobs = logprobs;
            all.push_back(params);
          }
        }
      }
    }
  }
  return all;
}

std::vector<std::int32_t> random_ids(std::size_t count, std::int64_t vocab_size,
                                     Generator& generator) {
  std::uniform_int_distribution<std::int32_t> any(0, static_cast<std::int32_t>(vocab_size) - 1);
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = any(generator);
  return ids;
}

/// Penalties, biases and bans; some of each, by the bits of `which`.
void add_edits(int which, std::int64_t vocab_size, SamplingCases& cases, Generator& generator) {
  SamplingParams& params = cases.params.back();
  if ((which & 1) != 0) params.repetition_penalty = 1.3;
  if ((which & 2) != 0) {
    params.presence_penalty = 0.7;
    params.frequency_penalty = -0.25;
  }
  if ((which & 4) != 0) {
    for (const std::int32_t id : random_ids(4, vocab_size, generator)) {
      params.logit_bias.emplace_back(id, 6.5F);
    }
    cases.banned.back() = random_ids(6, vocab_size, generator);
  }
  cases.prompts.back() = random_ids(30, vocab_size, generator);
  cases.generated.back() = random_ids(30, vocab_size, generator);
}

void add_logits(int form, SamplingCases& cases, Generator& generator) {
  std::normal_distribution<float> normal;
  for (std::int64_t id = 0; id < cases.vocab_size; ++id) {
    const float value = normal(generator);
    cases.logits.push_back(form == 0 ? 4 * value : form == 1 ? value / 4 : std::round(value) * 2);
  }
}

}  // namespace

std::span<const float> SamplingCases::logits_of(std::size_t row) const {
  const auto size = static_cast<std::size_t>(vocab_size);
  return std::span(logits).subspan(row * size, size);
}

std::vector<engine::SampleRow> SamplingCases::rows() const {
  std::vector<engine::SampleRow> all(num_rows());
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].logits_row = static_cast<std::int64_t>(i);
    all[i].params = &params[i];
    all[i].key = engine::noise_key(17, i, i % 3);
    all[i].position = static_cast<std::int64_t>(100 + i);
    all[i].prompt = prompts[i];
    all[i].generated = generated[i];
    all[i].banned = banned[i];
  }
  return all;
}

SamplingCases all_combinations(std::int64_t vocab_size, std::uint32_t seed) {
  Generator generator(seed);
  SamplingCases cases;
  cases.vocab_size = vocab_size;
  int count = 0;
  for (const SamplingParams& params : all_params(vocab_size)) {
    for (const int edits : {0, 1 + count % 7}) {
      cases.params.push_back(params);
      cases.prompts.emplace_back();
      cases.generated.emplace_back();
      cases.banned.emplace_back();
      if (edits != 0) add_edits(edits, vocab_size, cases, generator);
      add_logits(count % 3, cases, generator);
      ++count;
    }
  }
  return cases;
}

models::CausalLm::VocabShard shard_of(std::int64_t vocab_size, int rank, int num_ranks) {
  const std::int64_t columns = (vocab_size + num_ranks - 1) / num_ranks;
  models::CausalLm::VocabShard shard;
  shard.begin = static_cast<std::int32_t>(columns * rank);
  shard.num_columns = static_cast<std::int32_t>(columns);
  shard.num_valid =
      static_cast<std::int32_t>(std::clamp<std::int64_t>(vocab_size - shard.begin, 0, columns));
  return shard;
}

std::vector<float> shard_logits(std::span<const float> logits, std::int64_t vocab_size,
                                const models::CausalLm::VocabShard& shard) {
  const std::int64_t num_rows = static_cast<std::int64_t>(logits.size()) / vocab_size;
  std::vector<float> columns;
  for (std::int64_t row = 0; row < num_rows; ++row) {
    for (std::int32_t column = 0; column < shard.num_columns; ++column) {
      const bool is_valid = column < shard.num_valid;
      columns.push_back(
          is_valid ? logits[static_cast<std::size_t>(row * vocab_size + shard.begin + column)]
                   : std::numeric_limits<float>::max());
    }
  }
  return columns;
}

std::vector<engine::SampledToken> sample_shard(const SamplingCases& cases,
                                               comm::Communicator& group) {
  const auto shard = shard_of(cases.vocab_size, group.rank(), group.size());
  std::vector<float> logits = shard_logits(cases.logits, cases.vocab_size, shard);
  engine::Sampler sampler(shard, cases.vocab_size, group);
  const auto num_rows = static_cast<std::int64_t>(cases.num_rows());
  return sampler.sample({logits.data(), DType::float32, {num_rows, shard.num_columns}},
                        cases.rows());
}

}  // namespace trireme::test
