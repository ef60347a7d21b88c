#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "eplb/random.h"
#include "eplb/shape.h"

namespace trireme::eplb {

inline bool every_expert_has_a_slot(const std::vector<std::int32_t>& placed, const Shape& shape) {
  if (std::ssize(placed) != shape.num_slots()) return false;
  const std::set<std::int32_t> met(placed.begin(), placed.end());
  return std::ssize(met) == shape.num_experts && *met.begin() == 0 &&
         *met.rbegin() == shape.num_experts - 1;
}

/// How many replicas share a rank with another of the same expert.
inline std::int64_t duplicates(const std::vector<std::int32_t>& placed, const Shape& shape) {
  std::int64_t found = 0;
  for (std::int32_t begin = 0; begin < shape.num_slots(); begin += shape.slots_per_rank) {
    const auto first = placed.begin() + begin, last = first + shape.slots_per_rank;
    found += shape.slots_per_rank - std::ssize(std::set<std::int32_t>(first, last));
  }
  return found;
}

/// The lowest value over all placements that give every expert a slot and no rank an expert twice.
inline double lowest_of_all(const Shape& shape,
                            const std::function<double(const std::vector<std::int32_t>&)>& value) {
  std::vector<std::int32_t> placed(shape.num_slots(), 0);
  double lowest = 1e300;
  while (true) {
    if (every_expert_has_a_slot(placed, shape) && duplicates(placed, shape) == 0) {
      lowest = std::min(lowest, value(placed));
    }
    std::size_t digit = 0;
    while (digit < placed.size() && ++placed[digit] == shape.num_experts) placed[digit++] = 0;
    if (digit == placed.size()) return lowest;
  }
}

/// Counts in [0, most), [rows, experts].
inline std::vector<std::int64_t> random_counts(std::int64_t size, std::int32_t most,
                                               std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int64_t> counts(size);
  for (std::int64_t& count : counts) count = random.below(most);
  return counts;
}

}  // namespace trireme::eplb
