#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/candidates.h"
#include "engine/sample_row.h"

namespace trireme::engine {

/// Memory that one thread needs for one row; kept from row to row.
struct RowScratch {
  std::vector<float> values;
  std::vector<std::uint32_t> occurrences;  ///< by column; zero between the rows
  SelectionScratch selection;
  std::vector<Candidate> merged;
};

/// What a row's draw works on: the logits after penalties, logit_bias and bans, divided by the
/// temperature if that is not 0. Ids of other shards are passed over.
///   logits   this shard's, valid columns only; column c is id first_id + c
///   returns  `logits` itself if nothing changes them, else memory of the scratch
std::span<const float> prepared_logits(std::span<const float> logits, std::int32_t first_id,
                                       const SampleRow& row, RowScratch& scratch);

}  // namespace trireme::engine
