#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::eplb {

/// The weights of one expert go from a slot of the old placement to one of the new.
struct SlotCopy {
  std::int32_t expert = 0;
  std::int32_t from_slot = 0, to_slot = 0;
  std::int32_t from_rank = 0, to_rank = 0;

  bool operator==(const SlotCopy&) const = default;
};

/// What must be copied so that slots laid out as `old` become `placed`: one copy for each slot that
/// holds another expert than before, ascending by destination. A source on the destination's rank
/// is preferred; else the rank that sends least so far, then the lowest slot. Sources hold the old
/// weights, so all copies read before any slot is overwritten.
/// Throws Error(config) where an expert of `placed` is in no old slot.
///   old, placed  [num_slots] of one layer, -1: empty
std::vector<SlotCopy> plan_migration(std::span<const std::int32_t> old,
                                     std::span<const std::int32_t> placed,
                                     std::int32_t slots_per_rank);

}  // namespace trireme::eplb
