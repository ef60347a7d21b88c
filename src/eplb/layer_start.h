#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/shape.h"

namespace trireme::eplb {

/// A first placement of one layer without two replicas of an expert on a rank: replicas by the
/// heaviest share, at most one a rank, then the heaviest replica first, each to the lightest rank
/// that has room and not yet that expert. Needs slots_per_rank ≤ num_experts.
///   loads    [num_experts]
///   returns  expert_of_slot, [num_slots]
std::vector<std::int32_t> start_placement(std::span<const std::int64_t> loads, const Shape& shape);

/// Replicas of each expert, [num_experts], so that the heaviest share is as light as it can be with
/// at most one replica a rank. Equal shares go to the expert with fewer replicas, then the lower
/// id.
std::vector<std::int32_t> choose_replicas(std::span<const std::int64_t> loads, const Shape& shape);

/// The placement where every rank holds every expert, for slots_per_rank ≥ num_experts: the same
/// experts on each rank, so that all loads are equal.
std::vector<std::int32_t> full_placement(std::span<const std::int64_t> loads, const Shape& shape);

}  // namespace trireme::eplb
