#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/logit_scan.h"
#include "engine/row_logits.h"
#include "engine/sample_row.h"

/// What a shard of the vocabulary tells the others about one row, and what all of it together says.
namespace trireme::engine {

/// The form of a part; follows from the row's parameters, so that all shards agree. In words of
/// four bytes, one after the other: whether a logit is finite, the listed candidates, log Σ exp of
/// the draw's values, log Σ exp of the model's logits, the best of these.
struct PartForm {
  std::size_t num_listed = 1;  ///< candidates of the draw; 0: only whole rows will do
  bool is_unfiltered = true;   ///< the one listed is the shard's draw
  bool has_mass = false;
  bool has_logprob = false;
  std::size_t num_top = 0;

  std::size_t num_words() const;
};
PartForm part_form(const SamplingParams& params, std::int64_t vocab_size);

/// top_k if it leaves something out, else 0.
std::size_t effective_top_k(const SamplingParams& params, std::int64_t vocab_size);

/// Writes this shard's part. `logits`: its valid columns, of ids from first_id on.
void write_part(const PartForm& form, const SampleRow& row, std::span<const float> logits,
                std::int32_t first_id, RowScratch& scratch, std::int32_t* words);

/// The parts of one row, by rank.
struct RowParts {
  const std::int32_t* first = nullptr;  ///< rank 0's
  std::size_t stride = 0;               ///< words from one rank's to the next
  std::span<const std::int64_t>
      shard_begin;  ///< [ranks + 1] first id of each, then the vocabulary's end
};

/// What the parts say.
struct RowOutcome {
  SampledToken sampled;
  LogSumExp model;               ///< of the model's logits, if log-probabilities are wanted
  bool needs_whole_row = false;  ///< the parts cannot tell the token
};
RowOutcome merge_parts(const PartForm& form, const SampleRow& row, const RowParts& parts,
                       RowScratch& scratch);

/// The draw from prepared logits of the whole vocabulary, with filters. One of them is above −inf.
std::int32_t draw_from_whole_row(const SampleRow& row, std::span<const float> values,
                                 RowScratch& scratch);

}  // namespace trireme::engine
