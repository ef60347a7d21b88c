#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "eplb/shape.h"

namespace trireme::eplb {

/// How far a placement is bettered, and what that may cost.
struct RebalanceLimits {
  double target =
      1.02;  ///< balance to stop at; a lower bound of the layer above it takes its place
  std::int64_t most_changed = std::numeric_limits<std::int64_t>::max();  ///< slots
};

/// A placement of one layer that changes few slots of the old one: the exchange of two slots or the
/// gift of a slot to another expert that lowers the sum of squares of what ranks have above the
/// target most for each slot that then holds another expert than before, again and again. No move
/// puts two replicas of an expert on a rank. Experts that stay on a rank keep their slot. A pure
/// function, for a job that rebalances while it runs as well as for planning.
///   old      [num_slots], every expert in at least one slot
///   loads    [num_experts] ≥ 0
///   returns  expert_of_slot, [num_slots]
std::vector<std::int32_t> rebalance(std::span<const std::int32_t> old,
                                    std::span<const std::int64_t> loads, const Shape& shape,
                                    const RebalanceLimits& limits);

/// The same experts on each rank as `placed`, in an order that leaves those that `old` has on the
/// rank too in their old slots.
///   old, placed  [num_slots]
std::vector<std::int32_t> keep_slots(std::span<const std::int32_t> old,
                                     std::span<const std::int32_t> placed,
                                     std::int32_t slots_per_rank);

/// How many slots hold another expert.
std::int64_t count_changed(std::span<const std::int32_t> old, std::span<const std::int32_t> placed);

}  // namespace trireme::eplb
