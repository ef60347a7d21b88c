#pragma once

#include <cstdint>
#include <vector>

#include "engine/sampler.h"
#include "engine/slot_table.h"
#include "engine/step_plan.h"
#include "layers/forward_batch.h"

namespace trireme::engine {

/// What a row of a plan draws from that row of the logits; the slot outlives it.
SampleRow make_sample_row(const PlanRow& row, const Slot& slot, std::int64_t logits_row);

/// Turns a plan and the slot table into the arrays that a forward pass reads. Owns them; a built
/// batch is valid until the next build().
class BatchBuilder {
 public:
  BatchBuilder(std::int64_t tokens_per_block, std::span<const kernels::KvCache> caches)
      : tokens_per_block_(tokens_per_block), caches_(caches) {}

  ///   with_logits  the last stage, which also needs the rows to sample and to score
  ///   choices      where the MoE layers leave what they chose; empty: nowhere
  const layers::ForwardBatch& build(const StepPlan& plan, const SlotTable& slots, bool with_logits,
                                    std::span<layers::ExpertChoice> choices = {});

  /// Of the last build: what to draw and to score, their logits_row counted in batch.logit_rows.
  std::span<const SampleRow> sample_rows() const { return sample_rows_; }
  std::span<const ScoreRow> score_rows() const { return score_rows_; }

 private:
  void add_tokens(const StepPlan& plan, const SlotTable& slots);
  void add_group(const StepPlan& plan, const SlotTable& slots, std::size_t group);
  void add_logit_rows(const StepPlan& plan, const SlotTable& slots);

  struct GroupArrays {
    std::vector<std::int32_t> block_table;
    std::vector<std::int64_t> slot_mapping;
  };
  std::int64_t tokens_per_block_;
  std::span<const kernels::KvCache> caches_;
  std::vector<std::uint64_t> token_keys_;
  std::vector<std::int32_t> token_ids_, positions_, q_begin_, first_position_, logit_rows_;
  std::vector<std::int32_t> ffn_num_tokens_;
  std::vector<GroupArrays> group_arrays_;
  std::vector<layers::GroupBatch> groups_;
  std::vector<SampleRow> sample_rows_;
  std::vector<ScoreRow> score_rows_;
  layers::ForwardBatch batch_;
};

}  // namespace trireme::engine
