#include "engine/batch_builder.h"

#include <algorithm>

#include "base/error.h"
#include "base/mix.h"

namespace trireme::engine {

SampleRow make_sample_row(const PlanRow& row, const Slot& slot, std::int64_t logits_row) {
  SampleRow sample;
  sample.logits_row = logits_row;
  sample.params = &slot.params;
  sample.key = slot.noise_key;
  sample.position = row.first_position + row.num_tokens;
  if (slot.params.has_penalty()) {
    const std::span<const std::int32_t> tokens = slot.tokens;
    sample.prompt = tokens.first(static_cast<std::size_t>(slot.prompt_length));
    sample.generated = tokens.subspan(static_cast<std::size_t>(slot.prompt_length));
  }
  if (sample.position - slot.prompt_length < slot.params.min_tokens) sample.banned = slot.banned;
  return sample;
}

const layers::ForwardBatch& BatchBuilder::build(const StepPlan& plan, const SlotTable& slots,
                                                bool with_logits,
                                                std::span<layers::ExpertChoice> choices) {
  add_tokens(plan, slots);
  group_arrays_.resize(static_cast<std::size_t>(slots.num_groups()));
  groups_.resize(group_arrays_.size());
  for (std::size_t group = 0; group < groups_.size(); ++group) add_group(plan, slots, group);
  logit_rows_.clear();
  sample_rows_.clear();
  score_rows_.clear();
  if (with_logits) add_logit_rows(plan, slots);
  ffn_num_tokens_ = plan.tokens_of_rank;

  batch_.token_ids = token_ids_;
  batch_.positions = positions_;
  batch_.token_keys = token_keys_;
  batch_.choices = choices;
  batch_.q_begin = q_begin_;
  batch_.first_position = first_position_;
  batch_.groups = groups_;
  batch_.caches = caches_;
  batch_.logit_rows = logit_rows_;
  batch_.wants_all_logits = logit_rows_.size() == token_ids_.size();
  batch_.ffn_num_tokens = ffn_num_tokens_;
  return batch_;
}

void BatchBuilder::add_tokens(const StepPlan& plan, const SlotTable& slots) {
  token_ids_.clear();
  positions_.clear();
  token_keys_.clear();
  q_begin_.assign(1, 0);
  first_position_.clear();
  std::size_t next_id = 0;
  for (const PlanRow& row : plan.rows) {
    if (row.is_decode()) {
      token_ids_.push_back(slots[row.slot].last_token);
    } else {
      TRIREME_CHECK(next_id + static_cast<std::size_t>(row.num_ids()) <= plan.token_ids.size(),
                    "step=", plan.step);
      const auto* ids = plan.token_ids.data() + next_id;
      token_ids_.insert(token_ids_.end(), ids, ids + row.num_tokens);
      next_id += static_cast<std::size_t>(row.num_ids());
    }
    const std::uint64_t row_key = slots[row.slot].row_key;
    for (std::int32_t i = 0; i < row.num_tokens; ++i) {
      positions_.push_back(row.first_position + i);
      token_keys_.push_back(splitmix64(row_key + static_cast<std::uint64_t>(positions_.back())));
    }
    q_begin_.push_back(q_begin_.back() + row.num_tokens);
    first_position_.push_back(row.first_position);
  }
}

void BatchBuilder::add_group(const StepPlan& plan, const SlotTable& slots, std::size_t group) {
  GroupArrays& arrays = group_arrays_[group];
  std::size_t max_blocks = 0;
  for (const PlanRow& row : plan.rows) {
    max_blocks = std::max(max_blocks, slots[row.slot].block_tables[group].size());
  }
  arrays.block_table.assign(plan.rows.size() * max_blocks, -1);
  arrays.slot_mapping.clear();
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const auto& table = slots[row.slot].block_tables[group];
    std::copy(table.begin(), table.end(),
              arrays.block_table.begin() + static_cast<std::ptrdiff_t>(i * max_blocks));
    for (std::int64_t p = row.first_position; p < row.first_position + row.num_tokens; ++p) {
      const auto index = static_cast<std::size_t>(p / tokens_per_block_);
      TRIREME_CHECK(index < table.size() && table[index] >= 0, "step=", plan.step,
                    " slot=", row.slot, " position=", p);
      arrays.slot_mapping.push_back(table[index] * tokens_per_block_ + p % tokens_per_block_);
    }
  }
  groups_[group] = {arrays.block_table, static_cast<std::int64_t>(max_blocks), arrays.slot_mapping};
}

void BatchBuilder::add_logit_rows(const StepPlan& plan, const SlotTable& slots) {
  std::size_t next_id = 0;
  std::int32_t first_token = 0;
  for (const PlanRow& row : plan.rows) {
    for (std::int32_t offset = row.score_begin; offset < row.score_end; ++offset) {
      score_rows_.push_back({std::ssize(logit_rows_),
                             plan.token_ids[next_id + static_cast<std::size_t>(offset) + 1]});
      logit_rows_.push_back(first_token + offset);
    }
    if (row.samples()) {
      sample_rows_.push_back(make_sample_row(row, slots[row.slot], std::ssize(logit_rows_)));
      logit_rows_.push_back(first_token + row.num_tokens - 1);
    }
    first_token += row.num_tokens;
    next_id += static_cast<std::size_t>(row.num_ids());
  }
}

}  // namespace trireme::engine
