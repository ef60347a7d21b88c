#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/lower_bound.h"
#include "eplb/random.h"
#include "eplb/shape.h"

namespace trireme::eplb {

/// How good a placement the search is content with, and how long it goes on.
struct LayerSearch {
  double close_enough = 1.001;  ///< times the lower bound
  std::int32_t rounds = 16;     ///< of annealing
  std::int64_t round_steps = 50'000;
};

/// A placement of one layer whose heaviest rank is about as light as it can be: heaviest share
/// first, exchanges of slots and moves of replicas while they help, then annealing unless the lower
/// bound is close. Two replicas of an expert are on one rank only if slots_per_rank > num_experts.
///   loads    [num_experts] ≥ 0
///   random   decides the annealing alone
///   returns  expert_of_slot, [num_slots]
std::vector<std::int32_t> solve_layer(std::span<const std::int64_t> loads, const Shape& shape,
                                      const LowerBound& bound, const LayerSearch& search,
                                      Random& random);

}  // namespace trireme::eplb
