#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/scenario.h"

namespace trireme::eplb {

/// How many replicas each expert gets: one more at a time to the expert with the highest
/// (mean + deviations · standard deviation over the scenarios) per replica.
///   returns  [experts] ≥ 1, with the sum num_slots; at most num_ranks where that suffices
std::vector<std::int32_t> scenario_replicas(const Scenarios& scenarios, const Shape& shape,
                                            double deviations);

/// Replicas in descending order, each to the rank on which the sum over scenarios of
/// load^(2 · half_power) becomes least, of those that have a free slot and not yet that expert.
///   returns  [slots] the expert of each slot
std::vector<std::int32_t> scenario_packing(const Scenarios& scenarios, const Shape& shape,
                                           std::span<const std::int32_t> replicas, int half_power);

}  // namespace trireme::eplb
