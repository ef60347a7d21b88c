#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling_params.h"

namespace trireme::engine {

/// One row of logits to draw a token from. Spans stay valid during the call.
struct SampleRow {
  std::int64_t logits_row = 0;
  const SamplingParams* params = nullptr;
  std::uint64_t key = 0;                    ///< noise_key of the sequence
  std::int64_t position = 0;                ///< of the token being drawn
  std::span<const std::int32_t> prompt;     ///< for penalties; empty if there are none
  std::span<const std::int32_t> generated;  ///< likewise; on a GPU they are in its memory alone
  std::span<const std::int32_t> banned;     ///< ids at −inf (fewer than min_tokens are generated)

  /// Whether it is drawn from other logits than the model's.
  bool is_edited() const {
    return params->has_penalty() || !params->logit_bias.empty() || !banned.empty();
  }
};

/// What was drawn. top_* hold min(params->logprobs, vocabulary) entries, value descending, id
/// ascending.
struct SampledToken {
  std::int32_t token = -1;  ///< -1: no logit of the row was finite
  float logprob = 0;        ///< of the model's own distribution, before penalties and temperature
  std::vector<std::int32_t> top_ids;
  std::vector<float> top_logprobs;
};

/// A position whose next token is known: prompt scoring.
struct ScoreRow {
  std::int64_t logits_row = 0;
  std::int32_t target = 0;
};

}  // namespace trireme::engine
