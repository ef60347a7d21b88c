#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "engine/sampler.h"

namespace trireme::test {

/// Rows to sample from and everything that they point to. Not copied: rows hold addresses.
struct SamplingCases {
  std::int64_t vocab_size = 0;
  std::vector<float> logits;  ///< [rows, vocab_size]
  std::vector<engine::SamplingParams> params;
  std::vector<std::vector<std::int32_t>> prompts, generated, banned;

  std::size_t num_rows() const { return params.size(); }
  std::span<const float> logits_of(std::size_t row) const;
  std::vector<engine::SampleRow> rows() const;
};

/// One row for each combination of all sampling options, over random logits: peaked, flat, and of
/// few different values, so that there are ties.
SamplingCases all_combinations(std::int64_t vocab_size, std::uint32_t seed);

/// The part of the vocabulary that a rank holds when it is padded to equal shards.
models::CausalLm::VocabShard shard_of(std::int64_t vocab_size, int rank, int num_ranks);

/// This shard's columns, its padding filled with what must not be seen.
std::vector<float> shard_logits(std::span<const float> logits, std::int64_t vocab_size,
                                const models::CausalLm::VocabShard& shard);

/// What a member of a group samples from its shard of the cases' logits.
std::vector<engine::SampledToken> sample_shard(const SamplingCases& cases,
                                               comm::Communicator& group);

}  // namespace trireme::test
