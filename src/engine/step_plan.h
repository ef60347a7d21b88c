#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling_params.h"

namespace trireme::engine {

/// What one slot computes in a step.
struct PlanRow {
  enum Flag : std::int32_t {
    kDecode = 1,   ///< the input is the token that the slot sampled last; no token ids in the plan
    kSamples = 2,  ///< a token is drawn from the logits of the last position
  };
  std::int32_t slot = 0;
  std::int32_t flags = 0;
  std::int32_t first_position = 0;
  std::int32_t num_tokens = 0;
  /// Prompt scoring: the log-probability of the next token is wanted for the last `num_scored`
  /// positions that have one; the chunk then carries one token id beyond its end if the prompt goes
  /// on.
  std::int32_t score_begin = 0, score_end = 0;  ///< offsets in the chunk, half-open
  /// Leading tokens that were computed before (after a preemption): never counted twice.
  std::int32_t num_recomputed = 0;

  bool is_decode() const { return (flags & kDecode) != 0; }
  bool samples() const { return (flags & kSamples) != 0; }
  std::int32_t num_scores() const { return score_end - score_begin; }
  /// Token ids that the plan carries for this row.
  std::int32_t num_ids() const {
    if (is_decode()) return 0;
    return num_tokens + (score_end == num_tokens && num_scores() > 0 ? 1 : 0);
  }

  bool operator==(const PlanRow&) const = default;
};

/// A KV block that enters a slot's table.
struct BlockEntry {
  std::int32_t slot = 0, group = 0, index = 0, block = 0;

  bool operator==(const BlockEntry&) const = default;
};

/// A sequence that enters a slot.
struct AdmittedSlot {
  std::int32_t slot = 0;
  std::int64_t index = 0;  ///< of the prompt
  std::int32_t sample = 0;
  std::int32_t prompt_length = 0;
  std::int32_t num_generated = 0;    ///< before this admission (after a preemption)
  std::uint64_t domain = 0;          ///< of the request
  SamplingParams params;             ///< without the stop strings, which the leader alone looks for
  std::vector<std::int32_t> banned;  ///< ids at −inf while fewer than min_tokens are generated
  std::vector<std::int32_t> tokens;  ///< all known tokens, if a penalty is on; else empty
};

/// One step of one sequence group, made by the leader and executed by all members. Immutable after
/// sending. Applied in this order: freed, admitted, blocks, rows.
struct StepPlan {
  std::int64_t step = 0;
  std::int32_t lane = 0;
  bool is_last = false;   ///< no step: the group is done
  bool is_abort = false;  ///< with is_last: stopped on request, work is left
  std::int32_t placement_version = 0;
  std::vector<std::int32_t> tokens_of_rank;  ///< attention DP: tokens of every tp rank in this step

  std::vector<std::int32_t> freed_slots;
  std::vector<AdmittedSlot> admitted;
  std::vector<BlockEntry> blocks;
  std::vector<PlanRow> rows;
  std::vector<std::int32_t>
      token_ids;  ///< of the rows that are no decodes, one row after the other
  /// Rows of this lane's step before that turned out to lie behind their sequence's end.
  std::vector<std::int32_t> void_rows;

  std::int64_t num_tokens() const;
  /// Nothing that a member must know.
  bool is_empty() const { return rows.empty() && void_rows.empty(); }
};

/// The fixed first message of a plan; the body follows it if body_words > 0.
struct PlanHeader {
  static constexpr std::int32_t kMagic = 0x504c4e31;
  std::int32_t magic = kMagic;
  std::int32_t version = 1;
  std::int64_t step = 0;
  std::int32_t lane = 0;
  std::int32_t flags = 0;  ///< 1 last, 2 abort
  std::int32_t placement_version = 0;
  std::int32_t body_words = 0;  ///< 32-bit words
  std::int32_t num_ranks = 0, num_freed = 0, num_admitted = 0, num_blocks = 0, num_rows = 0,
               num_ids = 0, num_void = 0;
  std::int32_t num_tokens = 0;
};

/// A plan as it is sent.
struct PlanBytes {
  PlanHeader header;
  std::vector<std::int32_t> body;
};
PlanBytes serialize(const StepPlan& plan);

/// Checks magic, version and flags. Throws Error(internal).
void check_header(const PlanHeader& header);
/// Throws Error(internal) if the body does not hold exactly what the header says.
StepPlan deserialize(const PlanHeader& header, std::span<const std::int32_t> body);

}  // namespace trireme::engine
