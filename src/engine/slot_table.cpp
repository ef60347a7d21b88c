#include "engine/slot_table.h"

#include <algorithm>

#include "base/error.h"
#include "engine/noise.h"

namespace trireme::engine {

SlotTable::SlotTable(std::int32_t num_slots, std::int32_t num_groups)
    : num_groups_(num_groups), slots_(static_cast<std::size_t>(num_slots)) {}

Slot& SlotTable::checked(std::int32_t slot, bool is_used) {
  TRIREME_CHECK(slot >= 0 && slot < static_cast<std::int32_t>(slots_.size()), "slot=", slot);
  TRIREME_CHECK((*this)[slot].is_used == is_used, "slot=", slot, " is_used=", !is_used);
  return (*this)[slot];
}

void SlotTable::apply(const StepPlan& plan) {
  for (const std::int32_t slot : plan.freed_slots) checked(slot, true) = Slot{};
  for (const AdmittedSlot& admitted : plan.admitted) {
    Slot& slot = checked(admitted.slot, false);
    slot.is_used = true;
    slot.noise_key = noise_key(admitted.params.seed, static_cast<std::uint64_t>(admitted.index),
                               static_cast<std::uint64_t>(admitted.sample));
    slot.row_key = noise_key(0, static_cast<std::uint64_t>(admitted.index),
                             static_cast<std::uint64_t>(admitted.sample));
    slot.domain = admitted.domain;
    slot.prompt_length = admitted.prompt_length;
    slot.params = admitted.params;
    std::ranges::stable_sort(slot.params.logit_bias, {},
                             [](const auto& bias) { return bias.first; });
    slot.banned = admitted.banned;
    slot.tokens = admitted.tokens;
    slot.block_tables.assign(static_cast<std::size_t>(num_groups_), {});
  }
  for (const BlockEntry& entry : plan.blocks) {
    TRIREME_CHECK(entry.group >= 0 && entry.group < num_groups_ && entry.index >= 0,
                  "group=", entry.group, " index=", entry.index);
    auto& table = checked(entry.slot, true).block_tables[static_cast<std::size_t>(entry.group)];
    if (static_cast<std::size_t>(entry.index) >= table.size()) {
      table.resize(static_cast<std::size_t>(entry.index) + 1, -1);
    }
    table[static_cast<std::size_t>(entry.index)] = entry.block;
  }
}

}  // namespace trireme::engine
