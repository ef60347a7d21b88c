#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/scenario.h"

namespace trireme::eplb {

/// A placement of one layer with the load of each rank in each scenario, kept so that the effect of
/// a change is known without walking over all ranks: the two highest loads of every scenario.
class ScenarioState {
 public:
  /// `expert_of_slot` has every expert at least once.
  ScenarioState(const Scenarios& scenarios, const Shape& shape,
                std::vector<std::int32_t> expert_of_slot);

  std::int64_t num_scenarios() const { return num_scenarios_; }
  /// Sum over the scenarios of the most loaded rank's load.
  std::int64_t cost() const { return cost_; }
  const std::vector<std::int32_t>& expert_of_slot() const { return expert_of_slot_; }
  std::int32_t replicas(std::int32_t expert) const { return replicas_[expert]; }
  std::int32_t count(std::int32_t expert, std::int32_t rank) const {
    return counts_[expert * shape_.num_ranks + rank];
  }
  std::int32_t rank_of(std::int32_t slot) const { return slot / shape_.slots_per_rank; }
  std::int32_t hottest_rank(std::int64_t scenario) const { return top_rank_[scenario]; }

  /// The cost if two slots of different ranks exchanged their experts.
  std::int64_t cost_of_swap(std::int32_t slot, std::int32_t other) const;
  void swap(std::int32_t slot, std::int32_t other, std::int64_t new_cost);

  /// The cost if the slot held `expert` instead; its present expert has another replica. Leaves the
  /// changed loads in a buffer, which retarget() takes: call them one after the other.
  std::int64_t cost_of_retarget(std::int32_t slot, std::int32_t expert);
  void retarget(std::int32_t slot, std::int32_t expert, std::int64_t new_cost);

 private:
  void find_tops();
  void write_unit(std::int32_t expert, std::int32_t replicas, std::int32_t* unit) const;

  Shape shape_;
  std::int64_t num_scenarios_;
  std::int64_t width_;                        // scenarios, rounded up to whole vectors
  std::vector<std::int32_t> expert_of_slot_;  // [slots]
  std::vector<std::int32_t> replicas_;        // [experts]
  std::vector<std::int32_t> counts_;          // [experts, ranks]
  std::vector<std::int32_t> weights_;         // [experts, width] load of the expert
  std::vector<std::int32_t> units_;           // [experts, width] load of one replica
  std::vector<std::int32_t> loads_;           // [ranks, width]
  std::vector<std::int32_t> top_load_;        // [2, width] descending
  std::vector<std::int32_t> top_rank_;        // [width] of the highest
  std::vector<std::int32_t> maximum_;         // [width]
  std::vector<std::int32_t> unit_buffer_;     // [2, width]
  std::vector<std::int32_t> load_buffer_;     // [ranks, width]
  std::vector<std::int32_t> changed_;         // ranks whose loads are in the buffer
  std::int64_t cost_ = 0;
};

}  // namespace trireme::eplb
