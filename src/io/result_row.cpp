#include "io/result_row.h"

#include <cstring>

namespace trireme::io {
namespace {

// NaN equals itself here, and the two zeros differ: what counts is the bits.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

std::string_view name_of(RowStatus status) {
  switch (status) {
    case RowStatus::ok:
      return "ok";
    case RowStatus::error:
      return "error";
    case RowStatus::cancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::error:
      return "error";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

bool same_result(const ResultRow& a, const ResultRow& b) {
  return a.index == b.index && a.sample == b.sample && a.custom_id == b.custom_id &&
         a.status == b.status && a.finish_reason == b.finish_reason && a.error == b.error &&
         a.prompt_tokens == b.prompt_tokens && a.completion_tokens == b.completion_tokens &&
         a.seed == b.seed && a.output_ids == b.output_ids && a.text == b.text &&
         a.has_logprobs == b.has_logprobs && same_bits(a.logprobs, b.logprobs) &&
         a.top_k == b.top_k && a.top_logprob_ids == b.top_logprob_ids &&
         same_bits(a.top_logprobs, b.top_logprobs) &&
         a.has_prompt_logprobs == b.has_prompt_logprobs &&
         same_bits(a.prompt_logprobs, b.prompt_logprobs);
}

}  // namespace trireme::io
