#pragma once

#include <cstdint>
#include <vector>

#include "engine/step_plan.h"

namespace trireme::engine {

/// What a rank knows of the sequence in a slot.
struct Slot {
  bool is_used = false;
  std::uint64_t noise_key = 0;
  std::uint64_t row_key = 0;  ///< of index and sample alone
  std::uint64_t domain = 0;   ///< of the request
  std::int32_t prompt_length = 0;
  std::int32_t last_token = -1;  ///< sampled last; the input of the next decode
  SamplingParams params;         ///< logit_bias ascending by id
  std::vector<std::int32_t> banned;
  /// Prompt and generated, if a penalty is on; on a GPU as admitted.
  std::vector<std::int32_t> tokens;
  std::vector<std::vector<std::int32_t>> block_tables;  ///< by layer group
};

/// The sequences of a group as every member sees them; changed only by applying plans in order.
class SlotTable {
 public:
  SlotTable(std::int32_t num_slots, std::int32_t num_groups);

  /// Frees, admits and enters blocks. Throws Error(internal) for what no leader may ask.
  void apply(const StepPlan& plan);

  Slot& operator[](std::int32_t slot) { return slots_[static_cast<std::size_t>(slot)]; }
  const Slot& operator[](std::int32_t slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  std::int32_t num_groups() const { return num_groups_; }

 private:
  Slot& checked(std::int32_t slot, bool is_used);

  std::int32_t num_groups_;
  std::vector<Slot> slots_;
};

}  // namespace trireme::engine
