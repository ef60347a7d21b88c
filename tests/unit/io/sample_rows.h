#pragma once

#include <limits>

#include "io/result_row.h"

namespace trireme::test {

/// A result with every column in use.
inline io::ResultRow full_row(std::int64_t index, std::int32_t sample = 0) {
  io::ResultRow row;
  row.index = index;
  row.sample = sample;
  row.custom_id = "row-" + std::to_string(index);
  row.finish_reason = io::FinishReason::length;
  row.prompt_tokens = 3;
  row.completion_tokens = 2;
  row.seed = std::numeric_limits<std::uint64_t>::max() - static_cast<std::uint64_t>(index);
  row.output_ids = {11, static_cast<std::int32_t>(index)};
  row.text = std::string("t\0\xff", 3) + std::to_string(index);
  row.has_logprobs = true;
  row.logprobs = {-0.5F, -1.25F};
  row.top_k = 2;
  row.top_logprob_ids = {11, 4, static_cast<std::int32_t>(index), 9};
  row.top_logprobs = {-0.5F, -2.0F, -1.25F, -3.0F};
  row.has_prompt_logprobs = true;
  row.prompt_logprobs = {std::numeric_limits<float>::quiet_NaN(), -2.5F, -0.125F};
  row.time_queued = 0.25;
  row.time_first_token = 0.5;
  row.time_done = 1.0;
  row.rank = 3;
  return row;
}

inline io::ResultRow error_row(std::int64_t index, const std::string& words) {
  io::ResultRow row;
  row.index = index;
  row.status = io::RowStatus::error;
  row.finish_reason = io::FinishReason::error;
  row.error = words;
  return row;
}

}  // namespace trireme::test
