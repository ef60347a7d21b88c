#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_stream.h"

/// Draws of tokens and log-probabilities from rows of logits of the whole vocabulary, as DESIGN
/// section 5 defines them. CUDA only: on the CPU the engine's sampler does this, and the GPU draws
/// what it draws. What a row gives does not depend on the other rows, bit for bit.
namespace trireme::kernels {

/// How the token of one row of logits is drawn. What penalties, biases and bans make of the logits
/// is for edit_logits() before.
struct SamplingRow {
  std::int64_t position = 0;  ///< of the token being drawn
  std::uint64_t key = 0;      ///< of the sequence's noise
  double top_p = 1;
  double min_p = 0;
  std::int32_t logits_row = -1;  ///< -1: fills up the step, nothing is written
  float temperature = 0;         ///< 0: greedy
  std::int32_t top_k = 0;        ///< 0: all
  std::int32_t num_top = -1;     ///< -1: no log-probabilities; 0: the token's; n: and the n best
  std::int32_t slot = 0;         ///< where the token goes in last_token; -1: nowhere
};

/// The most log-probabilities beside the token's.
inline constexpr std::int64_t kMostTopLogprobs = 20;

namespace cuda {

struct Sampling {
  const float* logits = nullptr;  ///< [rows, vocab_size]; not changed
  std::int64_t logits_stride = 0;
  std::int64_t vocab_size = 0;         ///< at most kMostSampledIds
  const SamplingRow* rows = nullptr;   ///< [num_rows]
  std::int64_t num_rows = 0;           ///< at most 65,535
  std::int64_t max_top = 0;            ///< no row's num_top is larger; at most kMostTopLogprobs
  std::int32_t* last_token = nullptr;  ///< [slots]; may be null

  std::int32_t* tokens = nullptr;   ///< [num_rows]; -1: no logit of the row is finite
  float* logprobs = nullptr;        ///< [num_rows]; of rows with num_top ≥ 0
  std::int32_t* top_ids = nullptr;  ///< [num_rows, max_top]; the first num_top, then -1 if fewer
  float* top_logprobs = nullptr;    ///< [num_rows, max_top]; beside top_ids
  /// sampling_workspace_bytes of memory for this vocab_size, zero at first; each call leaves it
  /// ready for the next.
  void* workspace = nullptr;
};
/// Draws a token for each row. Which kernels run depends on the numbers of rows and ids alone.
void sample(const Sampling& sampling, Stream stream);

std::size_t sampling_workspace_bytes(std::int64_t max_rows, std::int64_t vocab_size);

inline constexpr std::int64_t kMostSampledIds = std::int64_t{1} << 19;

struct Scoring {
  const float* logits = nullptr;  ///< [rows, vocab_size]; not changed
  std::int64_t logits_stride = 0;
  std::int64_t vocab_size = 0;
  /// [num_rows], -1: the row is left out; null: target i is that of row i.
  const std::int32_t* logits_rows = nullptr;
  const std::int32_t* targets = nullptr;  ///< [num_rows]; -1: the row fills up the step
  std::int64_t num_rows = 0;
  float* logprobs = nullptr;  ///< [num_rows]; NaN: every logit of the row is −inf or NaN
};
/// Log-probability of each target.
void score(const Scoring& scoring, Stream stream);

}  // namespace cuda
}  // namespace trireme::kernels
