#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/custom_id.h"

namespace trireme::io {

/// How many of the most likely tokens a result can name at each place.
inline constexpr std::int32_t kMaxTopLogprobs = 20;

enum class RowStatus : std::uint8_t { ok, error, cancelled };
enum class FinishReason : std::uint8_t { stop, length, error, cancelled };

std::string_view name_of(RowStatus status);
std::string_view name_of(FinishReason reason);

/// One result: one sample of one prompt, with every column of the result file.
struct ResultRow {
  std::int64_t index = 0;  ///< number of the prompt in its file
  std::int32_t sample = 0;
  CustomId custom_id;
  RowStatus status = RowStatus::ok;
  FinishReason finish_reason = FinishReason::stop;
  std::string error;  ///< why, if status is not ok
  std::int32_t prompt_tokens = 0, completion_tokens = 0;
  std::uint64_t seed = 0;                ///< the one that was used
  std::vector<std::int32_t> output_ids;  ///< with the token that ended it
  std::string text;                      ///< bytes of the completion, special tokens left out

  bool has_logprobs = false;
  std::vector<float> logprobs;                ///< [output_ids.size()] if has_logprobs
  std::int32_t top_k = 0;                     ///< 0: none
  std::vector<std::int32_t> top_logprob_ids;  ///< [output_ids.size(), top_k], best first
  std::vector<float> top_logprobs;            ///< [output_ids.size(), top_k]
  bool has_prompt_logprobs = false;
  std::vector<float> prompt_logprobs;  ///< [prompt_tokens], the first is NaN

  double time_queued = 0, time_first_token = 0, time_done = 0;  ///< seconds since the run began
  std::int32_t rank = 0;                                        ///< world rank of the leader

  bool operator==(const ResultRow&) const = default;
};

/// Whether two results of one (index, sample) say the same: bit for bit, apart from times and rank.
bool same_result(const ResultRow& a, const ResultRow& b);

}  // namespace trireme::io
