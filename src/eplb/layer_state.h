#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "eplb/shape.h"

namespace trireme::eplb {

/// The placement of one layer while it is searched, with the loads of its slots and ranks kept up
/// to date. All loads are integers, so nothing drifts. The replicas of an expert share its load
/// evenly.
class LayerState {
 public:
  /// loads: [num_experts]; expert_of_slot: [num_slots], every expert in at least one.
  LayerState(std::span<const std::int64_t> loads, const Shape& shape,
             std::vector<std::int32_t> expert_of_slot);

  const Shape& shape() const { return shape_; }
  const std::vector<std::int32_t>& expert_of_slot() const { return expert_of_slot_; }
  std::int32_t expert_at(std::int32_t slot) const { return expert_of_slot_[slot]; }
  std::int32_t rank_of(std::int32_t slot) const { return rank_of_slot_[slot]; }
  std::int32_t first_slot(std::int32_t rank) const { return rank * shape_.slots_per_rank; }

  std::int64_t expert_load(std::int32_t expert) const { return loads_[expert]; }
  std::int64_t slot_load(std::int32_t slot) const { return slot_loads_[slot]; }
  std::int64_t rank_load(std::int32_t rank) const { return rank_loads_[rank]; }
  std::int32_t heaviest_rank() const {
    return static_cast<std::int32_t>(std::ranges::max_element(rank_loads_) - rank_loads_.begin());
  }
  std::int64_t max_load() const { return rank_loads_[heaviest_rank()]; }

  /// The slots of an expert, in no order.
  const std::vector<std::int32_t>& slots_of(std::int32_t expert) const {
    return slots_of_expert_[expert];
  }
  std::int32_t replicas(std::int32_t expert) const {
    return static_cast<std::int32_t>(slots_of_expert_[expert].size());
  }
  /// The load of each replica of an expert if it had `replicas` of them.
  std::int64_t share(std::int32_t expert, std::int32_t replicas) const {
    return loads_[expert] / replicas;
  }
  std::int32_t replicas_on(std::int32_t rank, std::int32_t expert) const {
    return held_[static_cast<std::int64_t>(rank) * shape_.num_experts + expert];
  }
  bool holds(std::int32_t rank, std::int32_t expert) const {
    return replicas_on(rank, expert) != 0;
  }
  /// Whether exchanging two slots would put two replicas of an expert on a rank.
  bool swap_duplicates(std::int32_t a, std::int32_t b) const {
    return holds(rank_of(b), expert_at(a)) || holds(rank_of(a), expert_at(b));
  }

  /// Exchanges the experts of two slots.
  void swap(std::int32_t a, std::int32_t b);

  /// Gives a slot to another expert; its own must have more replicas.
  void retarget(std::int32_t slot, std::int32_t expert);

 private:
  void share_again(std::int32_t expert);
  std::uint16_t& held(std::int32_t rank, std::int32_t expert) {
    return held_[static_cast<std::int64_t>(rank) * shape_.num_experts + expert];
  }

  Shape shape_;
  std::vector<std::int64_t> loads_;                         // [experts]
  std::vector<std::int32_t> expert_of_slot_;                // [slots]
  std::vector<std::int32_t> rank_of_slot_;                  // [slots]
  std::vector<std::int64_t> slot_loads_;                    // [slots]
  std::vector<std::int64_t> rank_loads_;                    // [ranks]
  std::vector<std::vector<std::int32_t>> slots_of_expert_;  // [experts][replicas]
  std::vector<std::uint16_t> held_;                         // [ranks, experts] replicas
};

}  // namespace trireme::eplb
