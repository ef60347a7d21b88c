#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::test {

/// What transformers computes for twelve prompts with a tiny checkpoint
/// (tests/data/goldens/README.md).
struct Golden {
  std::int64_t vocab_size = 0;
  std::vector<std::vector<std::int32_t>> prompts;        ///< 12
  std::vector<std::vector<std::int32_t>> greedy_tokens;  ///< 12 × 24
  std::vector<std::vector<float>> greedy_logprobs;       ///< 12 × 24
  std::vector<std::vector<float>> prompt_logprobs;       ///< like prompts; the first is NaN
  std::vector<std::vector<float>> last_logits;           ///< 12 × vocab_size
  std::vector<std::vector<float>> full_logits_prompt_5;  ///< tokens of prompt 5 × vocab_size
};

/// Throws Error(input) naming file and dataset.
Golden read_golden(const std::string& path);

/// Largest absolute difference that a float32 computation in another order may show (issue of the
/// first job; reductions of a few hundred terms, logits of about 3).
inline constexpr float kGoldenTolerance = 2e-4f;

/// log(softmax(logits))[id], summed in double.
float log_probability(const std::vector<float>& logits, std::int32_t id);

/// The id of the largest logit, the lowest of equals.
std::int32_t greedy_choice(const std::vector<float>& logits);

}  // namespace trireme::test
