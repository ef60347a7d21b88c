#include "company_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "base/json.h"

namespace trireme::test {
namespace {

constexpr std::size_t kNumRows = 22;
constexpr std::int64_t kMaxTokens = 18;
constexpr float kLogprobTolerance = 2e-4F;  // as for the goldens: rounding of sums in other orders
constexpr std::size_t kSharedTokens = 24;

// Six kinds of rows, by turns; the first is plain greedy.
engine::SamplingParams params_of(std::size_t row) {
  engine::SamplingParams params;
  params.max_tokens = kMaxTokens - static_cast<std::int64_t>(row % 4);
  params.ignore_eos = true;
  params.seed = 11 + row % 2;
  switch (row % 6) {
    case 1:
      params.temperature = 0.8;
      params.top_p = 0.9;
      params.logprobs = 2;
      break;
    case 2:
      params.temperature = 1;
      params.top_k = 20;
      params.presence_penalty = 0.5;
      params.frequency_penalty = 0.25;
      break;
    case 3:
      params.repetition_penalty = 1.3;
      params.logprobs = 0;
      break;
    case 4:
      params.temperature = 1.2;
      params.min_p = 0.05;
      params.prompt_logprobs = true;
      break;
    case 5:
      params.temperature = 0.7;
      params.repetition_penalty = 1.1;
      params.ignore_eos = false;
      params.min_tokens = 4;
      params.stop_token_ids = {11, 13};  // comma and full stop
      break;
    default:
      break;
  }
  return params;
}

}  // namespace

CompanyRows company_rows(const std::string& demo_dir) {
  std::ifstream file(demo_dir + "/cases.json");
  const Json cases = Json::parse(file).at("cases");
  CompanyRows rows;
  std::vector<std::int32_t> shared, more;
  cases.at(0).at("prompt_ids").get_to(shared);
  cases.at(1).at("prompt_ids").get_to(more);
  shared.insert(shared.end(), more.begin(), more.end());
  shared.resize(kSharedTokens);

  for (std::size_t row = 0; row < kNumRows; ++row) {
    const Json& of_case = cases.at(row % 6 == 0 ? 14 + row / 6 : 2 + row);
    engine::Request request;
    request.index = static_cast<std::int64_t>(row);
    of_case.at("prompt_ids").get_to(request.prompt_tokens);
    request.params = params_of(row);
    if (row % 5 == 3) request.num_samples = 3;
    std::vector<std::int32_t> reference;
    if (row % 6 == 0) {
      of_case.at("greedy_ids").get_to(reference);
      reference.resize(static_cast<std::size_t>(request.params.max_tokens));
    } else {
      request.prompt_tokens.resize(6 + 5 * (row % 4));
    }
    if (row % 2 == 1) {
      request.prompt_tokens.insert(request.prompt_tokens.begin(), shared.begin(), shared.end());
    }
    rows.requests.push_back(std::move(request));
    rows.reference_tokens.push_back(std::move(reference));
  }
  return rows;
}

std::int64_t kv_bytes_of(double num_sequences, const EngineCase& engine_case) {
  constexpr std::int64_t num_layers = 5, num_kv_heads = 2, head_dim = 64;
  const topology::Sizes& sizes = engine_case.sizes;
  const std::int64_t layers = (num_layers + sizes.pp - 1) / sizes.pp;
  const std::int64_t heads =
      sizes.attention_dp ? num_kv_heads : std::max<std::int64_t>(1, num_kv_heads / sizes.tp);
  const std::int64_t token_bytes = layers * 2 * heads * head_dim * std::int64_t{sizeof(float)};
  return static_cast<std::int64_t>(num_sequences *
                                   static_cast<double>(engine_case.max_seq_len * token_bytes));
}

void expect_same_rows(const EngineOutcome& actual, const EngineOutcome& expected) {
  EXPECT_EQ(actual.rows.size(), expected.rows.size());
  for (const auto& [key, row] : expected.rows) {
    SCOPED_TRACE(testing::Message() << "row " << key.first << " sample " << key.second);
    const auto found = actual.rows.find(key);
    if (found == actual.rows.end()) {
      ADD_FAILURE() << "is missing";
      continue;
    }
    EXPECT_EQ(found->second.tokens, row.tokens);
    EXPECT_EQ(found->second.error, row.error);
    EXPECT_EQ(found->second.finish_reason, row.finish_reason);
    EXPECT_EQ(found->second.top_ids, row.top_ids);
    EXPECT_LE(largest_difference(found->second.logprobs, row.logprobs), kLogprobTolerance);
    EXPECT_LE(largest_difference(found->second.prompt_logprobs, row.prompt_logprobs),
              kLogprobTolerance);
  }
}

}  // namespace trireme::test
