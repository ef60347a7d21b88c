#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace trireme::engine {

/// How the tokens of one row are drawn and when it ends, after all defaults are in. Ranges are checked
/// where rows are read.
struct SamplingParams {
  std::int64_t max_tokens = 256;
  std::int64_t min_tokens = 0;
  double temperature = 0;  ///< 0: greedy
  double top_p = 1;
  double min_p = 0;
  std::int64_t top_k = 0;  ///< 0: all
  std::uint64_t seed = 0;
  double presence_penalty = 0, frequency_penalty = 0;
  double repetition_penalty = 1;
  bool ignore_eos = false;
  std::int32_t logprobs = -1;  ///< -1: none; 0: the chosen token's; k: also the k best
  bool prompt_logprobs = false;
  std::vector<std::string> stop;
  std::vector<std::int32_t> stop_token_ids;
  std::vector<std::pair<std::int32_t, float>> logit_bias;

  bool has_penalty() const {
    return presence_penalty != 0 || frequency_penalty != 0 || repetition_penalty != 1;
  }
};

}  // namespace trireme::engine
