#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "eplb/shape.h"

namespace trireme::eplb {

/// What the balance of one layer (heaviest rank over mean) cannot be below, however its experts are
/// replicated and placed, if the replicas of an expert share its load evenly.
struct LowerBound {
  double replicas = 1;  ///< by the heaviest replica alone; 0 without load
  double packing = 1;   ///< by what else fits beside heavy replicas; at least `replicas` and 1

  double balance() const { return std::max(1.0, packing); }
};

/// Proven bounds for one layer. For a limit C on a rank's load, an expert above C/2 has either
/// replicas above C/2, each alone of its kind on a rank whose other slots hold only what C leaves
/// room for, or at least 2·load/C replicas. Where even the cheapest mixture of the two needs more
/// slots than there are, no placement keeps within C; the largest such C is searched by halving.
///   loads  [num_experts] ≥ 0
LowerBound lower_bound(std::span<const std::int64_t> loads, const Shape& shape);

}  // namespace trireme::eplb
