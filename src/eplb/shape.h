#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::eplb {

/// The places there are for the experts of one layer. EP rank r owns slots [r · S, (r + 1) · S)
/// with S = slots_per_rank; node n owns ranks [n · R, (n + 1) · R) with R = ranks_per_node().
struct Shape {
  std::int32_t num_experts = 0;
  std::int32_t num_ranks = 1;  ///< EP size, a multiple of num_nodes
  std::int32_t slots_per_rank = 0;
  std::int32_t num_nodes = 1;

  std::int32_t num_slots() const { return num_ranks * slots_per_rank; }
  std::int32_t ranks_per_node() const { return num_ranks / num_nodes; }
};

/// A shape whose numbers fit together. Throws Error(config) naming the option to change: fewer
/// slots than experts, slots not divisible by ranks, ranks not divisible by nodes.
Shape make_shape(std::int64_t num_experts, std::int64_t num_slots, std::int64_t ep_size,
                 std::int64_t num_nodes);

/// In how many slots each expert is, [experts]; a slot of -1 is empty.
std::vector<std::int32_t> count_replicas(std::span<const std::int32_t> expert_of_slot,
                                         std::int32_t num_experts);

/// Highest load of a rank over the mean of all ranks, replicas sharing evenly. 1 without load.
///   loads           [experts]
///   expert_of_slot  [slots], -1: empty
double balance(std::span<const std::int64_t> loads, std::span<const std::int32_t> expert_of_slot,
               std::int32_t num_ranks);

}  // namespace trireme::eplb
