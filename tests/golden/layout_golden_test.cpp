#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "golden_file.h"
#include "stage_runner.h"
#include "tests/support/rank_layouts.h"

namespace trireme::test {
namespace {

const std::string kGoldens = std::string(TRIREME_TEST_DATA) + "/goldens/";

/// Largest differences to a golden; infinite for NaN.
class Difference {
 public:
  void add(float actual, float expected) {
    const float difference = std::abs(actual - expected);
    largest_ = difference <= largest_ ? largest_ : std::isnan(difference) ? INFINITY : difference;
  }
  void add(const std::vector<float>& actual, const std::vector<float>& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) add(actual.at(i), expected[i]);
  }
  float largest() const { return largest_; }

 private:
  float largest_ = 0;
};

/// One rank's part of a layout: prefills the prompts of its sequence group in two chunks each.
/// Returns the largest difference of what the last stage computes.
class LayoutRun {
 public:
  LayoutRun(const comm::MpiComm& world, const topology::Sizes& sizes, const std::string& model_dir)
      : topology_(sizes),
        rank_(world.rank()),
        groups_(comm::make_process_groups(world.duplicate(), topology_, "mpi")),
        runner_({.model_dir = model_dir,
                 .sizes = sizes,
                 .coordinates = topology_.coordinates(rank_),
                 .moe_max_num_tokens = 64},
                groups_) {}

  float largest_difference(const Golden& golden) {
    const int num_groups = topology_.num_sequence_groups();
    const int mine = topology_.sequence_group_index(rank_);
    const int num_prompts = static_cast<int>(golden.prompts.size());
    for (int first = 0; first < num_prompts; first += num_groups) {
      prefill(golden, first + mine);
    }
    return difference_.largest();
  }

  std::int64_t num_compared() const { return num_compared_; }
  std::int64_t bytes_read() const { return runner_.bytes_read(); }

 private:
  /// A group whose turn has no prompt takes part without tokens where others need its experts.
  void prefill(const Golden& golden, int prompt_idx) {
    const auto idx = static_cast<std::size_t>(prompt_idx);
    const std::vector<std::int32_t> prompt =
        idx < golden.prompts.size() ? golden.prompts[idx] : std::vector<std::int32_t>();
    const auto half = static_cast<std::int32_t>(prompt.size() / 2);
    std::vector<std::vector<float>> logits =
        step(prompt_idx, {prompt.begin(), prompt.begin() + half}, 0);
    std::ranges::move(step(prompt_idx, {prompt.begin() + half, prompt.end()}, half),
                      std::back_inserter(logits));
    if (logits.empty()) return;
    ++num_compared_;
    difference_.add(logits.back(), golden.last_logits[idx]);
    for (std::size_t t = 1; t < prompt.size(); ++t) {
      difference_.add(log_probability(logits.at(t - 1), prompt[t]), golden.prompt_logprobs[idx][t]);
    }
    if (idx != 5) return;
    for (std::size_t t = 0; t < prompt.size(); ++t) {
      difference_.add(logits[t], golden.full_logits_prompt_5[t]);
    }
  }

  std::vector<std::vector<float>> step(int sequence, std::vector<std::int32_t> tokens,
                                       std::int32_t first_position) {
    if (tokens.empty() && !topology_.sizes().attention_dp) return {};
    std::vector<Chunk> chunks;
    if (!tokens.empty())
      chunks.push_back({sequence, std::move(tokens), first_position, Chunk::Logits::of_all});
    return runner_.step(chunks);
  }

  topology::Topology topology_;
  int rank_;
  comm::ProcessGroups groups_;
  StageRunner runner_;
  Difference difference_;
  std::int64_t num_compared_ = 0;
};

class LayoutGolden : public testing::TestWithParam<const char*> {};

TEST_P(LayoutGolden, EveryValidLayoutGivesTheLogitsOfOneRank) {
  const std::string model_dir = kGoldens + GetParam();
  const Golden golden = read_golden(model_dir + "/golden.h5");
  const comm::MpiComm world = comm::MpiComm::world();
  const std::int64_t file_bytes = checkpoint::Checkpoint::open(model_dir).file_bytes();
  const std::vector<topology::Sizes> layouts =
      rank_layouts(world.size(), checkpoint::load_model_config(model_dir));

  for (const topology::Sizes& sizes : layouts) {
    LayoutRun run(world, sizes, model_dir);
    EXPECT_LE(run.largest_difference(golden), kGoldenTolerance) << layout_name(sizes);
    const std::int64_t ranks_of_prompt = sizes.attention_dp ? 1 : sizes.tp;
    EXPECT_EQ(world.sum(run.num_compared()), ranks_of_prompt * std::ssize(golden.prompts))
        << layout_name(sizes);
    EXPECT_EQ(world.sum(run.bytes_read()), file_bytes) << layout_name(sizes);
  }
  if (world.rank() == 0) {
    std::cout << GetParam() << ": " << layouts.size() << " layouts of " << world.size()
              << " ranks\n";
  }
}

TEST(RankLayouts, AreAsManyAsThereAre) {
  const auto count = [](const char* family) {
    const auto model = checkpoint::load_model_config(kGoldens + family);
    return rank_layouts(2, model).size() + rank_layouts(4, model).size() +
           rank_layouts(8, model).size();
  };

  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) EXPECT_EQ(count(family), 28U);
  for (const char* family : {"mixtral", "qwen3_moe", "olmoe"}) EXPECT_EQ(count(family), 58U);
}

INSTANTIATE_TEST_SUITE_P(Families, LayoutGolden,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "mixtral",
                                         "qwen3_moe", "olmoe"),
                         [](const auto& family) { return std::string(family.param); });

}  // namespace
}  // namespace trireme::test
