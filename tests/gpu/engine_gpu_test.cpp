// The engine on one GPU beside the references and beside the CPU.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>

#include "base/json.h"
#include "engine/company_rows.h"
#include "golden_requests.h"

namespace trireme::test {
namespace {

const std::string kDemo = std::string(TRIREME_TEST_DATA) + "/demo";

float largest_difference(const std::vector<float>& actual, const std::vector<float>& expected,
                         std::size_t skip) {
  if (actual.size() + skip != expected.size()) return INFINITY;
  float largest = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const float difference = std::abs(actual[i] - expected[i + skip]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

EngineCase gpu_case(const std::string& model_dir, DType dtype) {
  EngineCase engine_case;
  engine_case.model_dir = model_dir;
  engine_case.tokens_per_block = 16;
  engine_case.kv_dtype = dtype;
  engine_case.on_gpu = true;
  return engine_case;
}

class GpuGolden : public testing::TestWithParam<const char*> {};

TEST_P(GpuGolden, Float32GivesTheReferenceTokens) {
  const std::string model_dir = kGoldens + GetParam();
  const Golden golden = read_golden(model_dir + "/golden.h5");

  const EngineOutcome outcome =
      run_engines(comm::MpiComm::world(), gpu_case(model_dir, DType::float32), requests_of(golden));

  ASSERT_EQ(outcome.rows.size(), golden.prompts.size());
  float largest = 0;
  for (const auto& [key, row] : outcome.rows) {
    const auto prompt = static_cast<std::size_t>(key.first);
    EXPECT_EQ(row.error, "");
    EXPECT_EQ(row.tokens, golden.greedy_tokens[prompt]) << "row " << prompt;
    largest =
        std::max({largest, largest_difference(row.logprobs, golden.greedy_logprobs[prompt], 0),
                  largest_difference(row.prompt_logprobs, golden.prompt_logprobs[prompt], 1)});
  }
  EXPECT_LE(largest, kGoldenTolerance);
  std::cout << GetParam() << ": largest difference " << largest << "\n";
}

INSTANTIATE_TEST_SUITE_P(Families, GpuGolden,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "mixtral",
                                         "qwen3_moe", "olmoe"),
                         [](const auto& family) { return std::string(family.param); });

EngineCase demo_case() {
  EngineCase engine_case;
  engine_case.model_dir = kDemo;
  engine_case.max_seq_len = 88;
  engine_case.tokens_per_block = 8;
  engine_case.eos_token_ids = {8189};
  return engine_case;
}

/// Rows with every option of sampling, as the CPU answers them.
class GpuCompany : public testing::Test {
 protected:
  EngineOutcome on_gpu(EngineCase engine_case) {
    engine_case.on_gpu = true;
    return run_engines(world_, engine_case, rows_.requests);
  }
  static void expect_same_loads(const EngineOutcome& outcome, const EngineOutcome& expected) {
    EXPECT_EQ(outcome.by_expert, expected.by_expert);
    EXPECT_EQ(outcome.by_ep_rank, expected.by_ep_rank);
  }

  const comm::MpiComm world_ = comm::MpiComm::world();
  CompanyRows rows_ = company_rows(kDemo);
  EngineOutcome on_cpu_ = run_engines(world_, demo_case(), rows_.requests);
};

TEST_F(GpuCompany, RowsAreThoseOfTheCpu) {
  const EngineOutcome outcome = on_gpu(demo_case());

  expect_same_rows(outcome, on_cpu_);
  expect_same_loads(outcome, on_cpu_);
}

TEST_F(GpuCompany, LittleMemoryAndSmallChunksChangeNothing) {
  EngineCase engine_case = demo_case();
  engine_case.kv_bytes = kv_bytes_of(1.1, engine_case);
  engine_case.max_num_tokens = 16;

  const EngineOutcome outcome = on_gpu(engine_case);

  EXPECT_GT(outcome.num_preemptions, 0);
  expect_same_rows(outcome, on_cpu_);
}

TEST_F(GpuCompany, PlanningAheadAndReuseChangeNothing) {
  EngineCase engine_case = demo_case();
  engine_case.plan_ahead = 0;
  engine_case.enable_reuse = false;

  const EngineOutcome outcome = on_gpu(engine_case);

  EXPECT_EQ(outcome.reused_tokens, 0);
  expect_same_rows(outcome, on_cpu_);
  expect_same_loads(outcome, run_engines(world_, engine_case, rows_.requests));
}

std::vector<engine::Request> held_out_requests() {
  std::ifstream file(kDemo + "/cases.json");
  const Json cases = Json::parse(file).at("cases");
  std::vector<engine::Request> requests;
  for (const Json& of_case : cases) {
    engine::Request request;
    request.index = std::ssize(requests);
    of_case.at("prompt_ids").get_to(request.prompt_tokens);
    request.params.max_tokens = 32;
    request.params.ignore_eos = true;
    request.params.logprobs = 2;
    request.params.prompt_logprobs = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

double mean_of_prompts(const EngineOutcome& outcome) {
  double sum = 0;
  std::size_t count = 0;
  for (const auto& [key, row] : outcome.rows) {
    for (const float logprob : row.prompt_logprobs) sum += logprob;
    count += row.prompt_logprobs.size();
  }
  return sum / static_cast<double>(count);
}

class GpuBfloat16 : public testing::Test {
 protected:
  EngineOutcome run(bool on_gpu, DType dtype) {
    EngineCase engine_case = gpu_case(kDemo, dtype);
    engine_case.on_gpu = on_gpu;
    engine_case.rounds_to_bf16 = dtype == DType::bfloat16;
    return run_engines(comm::MpiComm::world(), engine_case, held_out_requests());
  }
};

// Greedy tokens part only where the two best of the reference are nearly alike.
TEST_F(GpuBfloat16, TokensAreTheReferencesWhereItIsSure) {
  std::ifstream file(kDemo + "/cases_bf16.json");
  const Json cases = Json::parse(file).at("cases");
  const EngineOutcome actual = run(true, DType::bfloat16);

  ASSERT_EQ(actual.rows.size(), cases.size());
  std::size_t num_same = 0;
  for (const auto& [key, row] : actual.rows) {
    const Json& reference = cases.at(static_cast<std::size_t>(key.first));
    const auto tokens = reference.at("greedy_ids").get<std::vector<std::int32_t>>();
    ASSERT_EQ(row.tokens.size(), tokens.size());
    const auto differs = std::ranges::mismatch(row.tokens, tokens).in1 - row.tokens.begin();
    if (differs == std::ssize(tokens)) {
      ++num_same;
      continue;
    }
    const double gap = reference.at("gaps").at(static_cast<std::size_t>(differs));
    EXPECT_LE(gap, 0.1) << "row " << key.first << " token " << differs;
  }
  std::cout << num_same << " of " << cases.size() << " rows are the reference's to the end\n";
  EXPECT_GT(num_same, cases.size() / 2);
}

TEST_F(GpuBfloat16, PerplexityIsThatOfFloat32) {
  const double reference = mean_of_prompts(run(false, DType::float32));

  const double actual = mean_of_prompts(run(true, DType::bfloat16));

  std::cout << "perplexity " << std::exp(-actual) << ", float32 " << std::exp(-reference) << "\n";
  EXPECT_NEAR(std::exp(reference - actual), 1, 0.005);
}

}  // namespace
}  // namespace trireme::test
