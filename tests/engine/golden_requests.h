#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "golden_file.h"

namespace trireme::test {

inline const std::string kGoldens = std::string(TRIREME_TEST_DATA) + "/goldens/";

/// A golden's prompts, to be answered greedily at the golden's lengths, with all log-probabilities.
inline std::vector<engine::Request> requests_of(const Golden& golden) {
  std::vector<engine::Request> requests;
  for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
    engine::Request request;
    request.index = static_cast<std::int64_t>(i);
    request.prompt_tokens = golden.prompts[i];
    request.params.max_tokens = std::ssize(golden.greedy_tokens[i]);
    request.params.ignore_eos = true;
    request.params.logprobs = 0;
    request.params.prompt_logprobs = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace trireme::test
