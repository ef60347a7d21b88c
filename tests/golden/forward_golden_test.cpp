#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "golden_file.h"
#include "stage_runner.h"

namespace trireme::test {
namespace {

const std::string kGoldens = std::string(TRIREME_TEST_DATA) + "/goldens/";

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], kGoldenTolerance) << what << ", element " << i;
  }
}

/// Logits of every token of every prompt, computed in steps in which each prompt has at most
/// chunk_sizes[step] tokens (the last size goes on).
std::vector<std::vector<std::vector<float>>> prefill(StageRunner& runner, const Golden& golden,
                                                     const std::vector<std::int32_t>& chunk_sizes) {
  std::vector<std::vector<std::vector<float>>> logits(golden.prompts.size());
  std::vector<std::int32_t> done(golden.prompts.size(), 0);
  for (std::size_t step = 0;; ++step) {
    const std::int32_t size = chunk_sizes[std::min(step, chunk_sizes.size() - 1)];
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
      const auto length = static_cast<std::int32_t>(golden.prompts[i].size());
      const std::int32_t end = std::min(length, done[i] + size);
      if (done[i] == end) continue;
      chunks.push_back({static_cast<int>(i),
                        {golden.prompts[i].begin() + done[i], golden.prompts[i].begin() + end},
                        done[i],
                        Chunk::Logits::of_all});
      done[i] = end;
    }
    if (chunks.empty()) return logits;
    std::size_t row = 0;
    const std::vector<std::vector<float>> rows = runner.step(chunks);
    for (const Chunk& chunk : chunks) {
      for (std::size_t t = 0; t < chunk.tokens.size(); ++t) {
        logits[static_cast<std::size_t>(chunk.sequence)].push_back(rows[row++]);
      }
    }
  }
}

void expect_prompts_match(const std::vector<std::vector<std::vector<float>>>& logits,
                          const Golden& golden) {
  for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
    const std::vector<std::int32_t>& prompt = golden.prompts[i];
    ASSERT_EQ(logits[i].size(), prompt.size());
    expect_near(logits[i].back(), golden.last_logits[i],
                "last logits of prompt " + std::to_string(i));
    for (std::size_t t = 1; t < prompt.size(); ++t) {
      ASSERT_NEAR(log_probability(logits[i][t - 1], prompt[t]), golden.prompt_logprobs[i][t],
                  kGoldenTolerance)
          << "prompt " << i << ", token " << t;
    }
  }
  for (std::size_t t = 0; t < golden.full_logits_prompt_5.size(); ++t) {
    expect_near(logits[5][t], golden.full_logits_prompt_5[t],
                "prompt 5, token " + std::to_string(t));
  }
}

class ForwardGolden : public testing::TestWithParam<const char*> {
 protected:
  StageRunner make_runner() const {
    return {{.model_dir = kGoldens + GetParam(), .sizes = {}, .coordinates = {}}, groups_};
  }

  const Golden golden_ = read_golden(kGoldens + GetParam() + "/golden.h5");
  const comm::ProcessGroups groups_;
};

TEST_P(ForwardGolden, WholePromptsAndGreedyTokensMatch) {
  StageRunner runner = make_runner();

  const auto logits = prefill(runner, golden_, {1000});
  expect_prompts_match(logits, golden_);

  std::vector<std::vector<float>> last;
  for (const auto& of_prompt : logits) last.push_back(of_prompt.back());
  for (std::size_t step = 0; step < golden_.greedy_tokens.front().size(); ++step) {
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < golden_.prompts.size(); ++i) {
      const std::int32_t token = greedy_choice(last[i]);
      ASSERT_EQ(token, golden_.greedy_tokens[i][step]) << "prompt " << i << ", step " << step;
      ASSERT_NEAR(log_probability(last[i], token), golden_.greedy_logprobs[i][step],
                  kGoldenTolerance);
      chunks.push_back({static_cast<int>(i),
                        {token},
                        static_cast<std::int32_t>(golden_.prompts[i].size() + step)});
    }
    last = runner.step(chunks);
  }
}

TEST_P(ForwardGolden, PromptsInUnevenChunksMatch) {
  StageRunner runner = make_runner();

  expect_prompts_match(prefill(runner, golden_, {7, 1, 33, 16, 64, 5, 50}), golden_);
}

TEST_P(ForwardGolden, PromptsTokenByTokenMatch) {
  StageRunner runner = make_runner();

  expect_prompts_match(prefill(runner, golden_, {1}), golden_);
}

// As an engine asks for them: of a prompt's last token, beside others' chunks without any.
TEST_P(ForwardGolden, LastTokensAloneMatch) {
  StageRunner runner = make_runner();
  std::vector<std::int32_t> done(golden_.prompts.size(), 0);
  std::size_t num_compared = 0;
  for (std::int32_t size = 5; num_compared < golden_.prompts.size(); size += 11) {
    std::vector<Chunk> chunks;
    std::vector<std::size_t> finished;
    for (std::size_t i = 0; i < golden_.prompts.size(); ++i) {
      const std::vector<std::int32_t>& prompt = golden_.prompts[i];
      const auto length = static_cast<std::int32_t>(prompt.size());
      const std::int32_t end = std::min(length, done[i] + size);
      if (done[i] == end) continue;
      if (end == length) finished.push_back(i);
      chunks.push_back({static_cast<int>(i),
                        {prompt.begin() + done[i], prompt.begin() + end},
                        done[i],
                        end == length ? Chunk::Logits::of_last : Chunk::Logits::none});
      done[i] = end;
    }

    const std::vector<std::vector<float>> rows = runner.step(chunks);

    ASSERT_EQ(rows.size(), finished.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
      expect_near(rows[row], golden_.last_logits[finished[row]],
                  "last logits of prompt " + std::to_string(finished[row]));
    }
    num_compared += rows.size();
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ForwardGolden,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "mixtral",
                                         "qwen3_moe", "olmoe"),
                         [](const auto& family) { return std::string(family.param); });

}  // namespace
}  // namespace trireme::test
