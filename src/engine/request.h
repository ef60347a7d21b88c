#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampling_params.h"

namespace trireme::engine {

/// One prompt with everything that its answers depend on. A request with an `error` becomes error
/// results without being computed.
struct Request {
  std::int64_t index = 0;  ///< global row number in the prompt file
  std::int32_t num_samples = 1;
  std::vector<std::int32_t> prompt_tokens;
  SamplingParams params;
  std::uint64_t domain = 0;  ///< key of what the prompt is about; 0: not given
  double queued_s = 0;       ///< monotonic clock, when the row was claimed
  std::string error;
  std::shared_ptr<const void>
      attachment;  ///< from the source to the sink; the engine does not look
};

enum class FinishReason : std::uint8_t { stop, length, error };

/// The result of one (prompt, sample).
struct Completion {
  std::shared_ptr<const Request> request;
  std::int32_t sample = 0;
  FinishReason finish_reason = FinishReason::length;
  std::string error;  ///< not empty: status is error
  std::vector<std::int32_t> output_tokens;
  std::string text;
  std::vector<float> logprobs;           ///< by output token, if asked for
  std::vector<std::int32_t> top_ids;     ///< [output tokens, params.logprobs]
  std::vector<float> top_logprobs;       ///< likewise
  std::vector<float> prompt_logprobs;    ///< by prompt token, the first NaN, if asked for
  double first_token_s = 0, done_s = 0;  ///< monotonic clock
};

/// Where a leader's engine gets its work. Called by the main thread of a leader only.
class RequestSource {
 public:
  virtual ~RequestSource() = default;
  /// The next request that is ready; none if none is ready now. Never blocks.
  virtual std::optional<Request> next() = 0;
  /// True once next() will never give a request again.
  virtual bool exhausted() const = 0;
};

/// Where finished rows go. Called by the main thread of a leader only; must not wait for a disk.
class ResultSink {
 public:
  virtual ~ResultSink() = default;
  virtual void finish(Completion completion) = 0;
};

}  // namespace trireme::engine
