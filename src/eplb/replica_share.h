#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/placement.h"
#include "eplb/shape.h"

namespace trireme::eplb {

/// What part of its expert's tokens each slot computes, when tokens are spread evenly over all
/// ranks as their homes. Quota: in proportion to the slots' weights. Home: a token takes a slot of
/// its own rank if there is one, else one of its own node, else any; by weight wherever there is a
/// choice.
///   expert_of_slot  [slots], -1: empty
///   slot_weights    [slots] ≥ 1, or empty: all alike
///   returns         [slots] in units of 1 / kWholeShare; those of one expert sum to kWholeShare
std::vector<std::int64_t> replica_shares(std::span<const std::int32_t> expert_of_slot,
                                         std::span<const std::int32_t> slot_weights,
                                         const Shape& shape, ReplicaChoice choice);
inline constexpr std::int64_t kWholeShare = std::int64_t{1} << 30;

/// Load of each rank, [ranks], in the unit of `loads`, each slot's rounded down: use
/// to_mean_units().
///   loads   [experts]
///   shares  [slots] of replica_shares()
std::vector<std::int64_t> rank_loads(std::span<const std::int64_t> loads,
                                     std::span<const std::int32_t> expert_of_slot,
                                     std::span<const std::int64_t> shares, const Shape& shape);

/// Highest load of a rank over the mean of all ranks under the rule by which replicas are chosen; 1
/// without load.
double balance_of_choice(std::span<const std::int64_t> loads,
                         std::span<const std::int32_t> expert_of_slot,
                         std::span<const std::int32_t> slot_weights, const Shape& shape,
                         ReplicaChoice choice);

}  // namespace trireme::eplb
