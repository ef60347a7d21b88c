#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine_runner.h"
#include "golden_file.h"

namespace trireme::test {

inline const std::string kGoldens = std::string(TRIREME_TEST_DATA) + "/goldens/";

/// Every other prompt's own log-probabilities are asked for: of the others a step wants the last
/// token's logits alone.
inline bool scores_prompt(std::size_t prompt) { return prompt % 2 == 0; }

/// A golden's prompts, to be answered greedily at the golden's lengths, with log-probabilities.
inline std::vector<engine::Request> requests_of(const Golden& golden) {
  std::vector<engine::Request> requests;
  for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
    engine::Request request;
    request.index = static_cast<std::int64_t>(i);
    request.prompt_tokens = golden.prompts[i];
    request.params.max_tokens = std::ssize(golden.greedy_tokens[i]);
    request.params.ignore_eos = true;
    request.params.logprobs = 0;
    request.params.prompt_logprobs = scores_prompt(i);
    requests.push_back(std::move(request));
  }
  return requests;
}

/// The largest difference of a prompt's log-probabilities; infinite if there are some without
/// having been asked for.
inline float difference_of_prompt(const RowOutcome& row, const Golden& golden, std::size_t prompt) {
  if (!scores_prompt(prompt)) return row.prompt_logprobs.empty() ? 0 : INFINITY;
  return largest_difference(row.prompt_logprobs, golden.prompt_logprobs[prompt], 1);
}

}  // namespace trireme::test
