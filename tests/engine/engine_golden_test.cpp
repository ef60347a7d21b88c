#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "base/clock.h"
#include "engine_runner.h"
#include "golden_requests.h"
#include "tests/support/rank_layouts.h"

namespace trireme::test {
namespace {

/// The engine, with scheduler, plans, lanes and sampler, on every layout of the world's ranks.
class EngineGolden : public testing::TestWithParam<const char*> {};

TEST_P(EngineGolden, GivesTheReferenceTokensOnEveryLayout) {
  const comm::MpiComm world = comm::MpiComm::world();
  const std::string model_dir = kGoldens + GetParam();
  const Golden golden = read_golden(model_dir + "/golden.h5");
  const auto layouts = rank_layouts(world.size(), checkpoint::load_model_config(model_dir));
  const double begin = monotonic_seconds();
  float largest = 0;

  for (const topology::Sizes& sizes : layouts) {
    const EngineOutcome outcome = run_engines(
        world, {.model_dir = model_dir, .sizes = sizes, .pipeline_layers = {}, .eos_token_ids = {}},
        requests_of(golden));

    EXPECT_EQ(outcome.rows.size(), golden.prompts.size()) << layout_name(sizes);
    for (const auto& [key, row] : outcome.rows) {
      const auto prompt = static_cast<std::size_t>(key.first);
      EXPECT_EQ(row.error, "") << layout_name(sizes);
      EXPECT_EQ(row.tokens, golden.greedy_tokens[prompt])
          << layout_name(sizes) << " row " << prompt;
      largest =
          std::max(largest, largest_difference(row.logprobs, golden.greedy_logprobs[prompt], 0));
      largest = std::max(largest, difference_of_prompt(row, golden, prompt));
      EXPECT_LE(largest, kGoldenTolerance) << layout_name(sizes) << " row " << prompt;
    }
  }

  if (world.rank() == 0) {
    std::cout << GetParam() << ": " << layouts.size() << " layouts of " << world.size()
              << " rank(s), largest difference " << largest << ", " << monotonic_seconds() - begin
              << " s\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EngineGolden,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "mixtral",
                                         "qwen3_moe", "olmoe"),
                         [](const auto& family) { return std::string(family.param); });

}  // namespace
}  // namespace trireme::test
