#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/shape.h"

namespace trireme::eplb {

/// The weight of a slot whose replica takes no more and no less than the others of its expert.
inline constexpr std::int32_t kEvenWeight = 256;

/// Weights by which the replicas of an expert share its tokens, so that the heaviest rank is
/// lighter for these loads: half way between even shares and those that make ranks as even as they
/// can be, since shares that fit one sample exactly are worse on the next.
///   loads           [num_experts]
///   expert_of_slot  [num_slots], every expert in at least one
///   returns         [num_slots] ≥ 1; the weights of an expert average about kEvenWeight
std::vector<std::int32_t> split_weights(std::span<const std::int64_t> loads,
                                        std::span<const std::int32_t> expert_of_slot,
                                        const Shape& shape);

}  // namespace trireme::eplb
