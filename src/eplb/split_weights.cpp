#include "eplb/split_weights.h"

#include <algorithm>

#include "base/error.h"
#include "eplb/fixed_point.h"

namespace trireme::eplb {

namespace {

constexpr int kSweeps = 64;

/// Pours `load` over vessels that are filled to `levels`, the lowest first, and returns what each
/// gets. What integers leave over goes to the lowest.
std::vector<std::int64_t> pour(std::int64_t load, std::span<const std::int64_t> levels) {
  std::vector<std::int64_t> sorted(levels.begin(), levels.end());
  std::ranges::sort(sorted);
  std::int64_t sum = load, surface = 0;
  for (std::size_t wet = 1; wet <= sorted.size(); ++wet) {
    sum += sorted[wet - 1];
    surface = sum / static_cast<std::int64_t>(wet);
    if (wet == sorted.size() || surface <= sorted[wet]) break;
  }
  std::vector<std::int64_t> shares;
  std::int64_t left = load;
  for (const std::int64_t level : levels) {
    shares.push_back(std::clamp<std::int64_t>(surface - level, 0, left));
    left -= shares.back();
  }
  shares[std::ranges::min_element(levels) - levels.begin()] += left;
  return shares;
}

}  // namespace

std::vector<std::int32_t> split_weights(std::span<const std::int64_t> loads,
                                        std::span<const std::int32_t> expert_of_slot,
                                        const Shape& shape) {
  const auto units = to_mean_units(loads, shape.num_ranks);
  std::vector<std::vector<std::int32_t>> slots_of(shape.num_experts);
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    slots_of.at(expert_of_slot[slot]).push_back(slot);
  }
  std::vector<std::int64_t> shares(shape.num_slots(), 0);  // of the slots
  std::vector<std::int64_t> rank_loads(shape.num_ranks, 0);
  const auto give = [&](std::int32_t slot, std::int64_t share) {
    rank_loads[slot / shape.slots_per_rank] += share - shares[slot];
    shares[slot] = share;
  };
  for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
    for (const std::int32_t slot : slots_of[expert]) {
      give(slot, units[expert] / static_cast<std::int64_t>(slots_of[expert].size()));
    }
  }
  // One expert at a time is poured over its ranks anew: the sum of the squares of rank loads falls,
  // and where it is least the heaviest rank is lightest.
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
      const auto& slots = slots_of[expert];
      if (slots.size() < 2) continue;
      std::vector<std::int64_t> levels;
      for (const std::int32_t slot : slots) give(slot, 0);
      for (const std::int32_t slot : slots) {
        levels.push_back(rank_loads[slot / shape.slots_per_rank]);
      }
      const auto poured = pour(units[expert], levels);
      for (std::size_t at = 0; at < slots.size(); ++at) give(slots[at], poured[at]);
    }
  }
  std::vector<std::int32_t> weights(shape.num_slots(), kEvenWeight);
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    const std::int32_t expert = expert_of_slot[slot];
    if (units[expert] == 0) continue;
    const auto replicas = static_cast<std::int64_t>(slots_of[expert].size());
    const std::int64_t best = shares[slot] * replicas * kEvenWeight / units[expert];
    weights[slot] = static_cast<std::int32_t>(std::max<std::int64_t>(1, (best + kEvenWeight) / 2));
  }
  return weights;
}

}  // namespace trireme::eplb
