#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"

/// What penalties, logit_bias and banned ids make of rows of logits, as DESIGN section 5 defines
/// it, before tokens are drawn from them. CUDA only: on the CPU the engine's sampler does this, and
/// the GPU gives the same bits. What a row gives does not depend on the other rows.
namespace trireme::kernels::cuda {

/// A number that is added to the logit of an id, or an id that is banned.
struct LogitChange {
  std::int32_t id = 0;
  float value = 0;  ///< of biases
};

/// What is done to one row of logits, in this order. Ids outside the vocabulary are passed over.
struct LogitEditRow {
  std::int32_t logits_row = 0;
  std::int32_t slot = 0;           ///< whose tokens the penalties look at
  std::int32_t num_tokens = 0;     ///< of the slot so far; 0: no penalties
  std::int32_t prompt_length = 0;  ///< the first tokens; those behind them were generated
  float repetition_penalty = 1;    ///< of each id in prompt or output, once
  float presence_penalty = 0, frequency_penalty = 0;  ///< of each id in the output
  std::int32_t first_change = 0;
  std::int32_t num_biases = 0;  ///< equal ids are neighbours, and are added one after the other
  std::int32_t num_banned = 0;  ///< changes behind the biases: ids at −inf
};

struct LogitEdits {
  const float* logits = nullptr;  ///< [rows, vocab_size]; not changed
  std::int64_t logits_stride = 0;
  std::int64_t vocab_size = 0;            ///< at most 2^30
  const LogitEditRow* rows = nullptr;     ///< [num_rows]
  std::int64_t num_rows = 0;              ///< at most 65,535
  const LogitChange* changes = nullptr;   ///< of all rows
  const std::int32_t* history = nullptr;  ///< [slots, history_stride], the tokens by position
  std::int64_t history_stride = 0;
  float* edited = nullptr;  ///< [num_rows, vocab_size]
  std::int64_t edited_stride = 0;
};
/// Writes the edited logits of each row.
void edit_logits(const LogitEdits& edits, Stream stream);

}  // namespace trireme::kernels::cuda
