#include "eplb/traffic_state.h"

#include <algorithm>
#include <numeric>

namespace trireme::eplb {

NodeState::NodeState(std::span<const std::int64_t> loads, const TokenSet& tokens,
                     std::span<const std::int32_t> expert_of_slot, const Shape& shape,
                     ReplicaChoice choice)
    : shape_(shape),
      choice_(choice),
      loads_(loads.begin(), loads.end()),
      experts_(shape.num_nodes),
      copies_(shape.num_experts * shape.num_nodes, 0),
      rank_copies_(shape.num_experts * shape.num_ranks, 0),
      replicas_(shape.num_experts, 0),
      holders_(shape.num_experts, 0),
      node_loads_(shape.num_nodes, 0),
      rank_loads_(shape.num_ranks, 0),
      costs_(tokens, shape, choice) {
  const std::int32_t slots_per_node = shape.slots_per_rank * shape.ranks_per_node();
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    experts_[slot / slots_per_node].push_back(expert_of_slot[slot]);
    add_copy(expert_of_slot[slot], slot / slots_per_node, 1);
    ++rank_copies_[expert_of_slot[slot] * shape.num_ranks + slot / shape.slots_per_rank];
  }
  std::vector<std::int32_t> all(shape.num_experts);
  std::iota(all.begin(), all.end(), 0);
  for (const std::int32_t expert : all) {
    add_loads(expert, 1);
    costs_.set_copies(expert,
                      std::span(copies_).subspan(expert * shape.num_nodes, shape.num_nodes));
  }
  cost_ = costs_.change_of(all);
  costs_.keep();
}

void NodeState::set_limits(const NodeLimits& limits) {
  for (std::int32_t expert = 0; expert < shape_.num_experts; ++expert) add_loads(expert, -1);
  limits_ =
      limits;  // ranks that were not minded have no load yet, and lose it when they no longer are
  for (std::int32_t expert = 0; expert < shape_.num_experts; ++expert) add_loads(expert, 1);
  overload_ = measured_overload();
}

std::int64_t NodeState::node_load(std::int32_t expert, std::int32_t node) const {
  const std::int64_t here = copies(expert, node), load = loads_[expert], nodes = shape_.num_nodes;
  if (here == 0) return 0;
  if (choice_ == ReplicaChoice::quota) return load * here / replicas_[expert];
  return load / nodes + load * (nodes - holders_[expert]) * here / (nodes * replicas_[expert]);
}

std::int64_t NodeState::replica_load(std::int32_t expert, std::int32_t node) const {
  return node_load(expert, node) / std::max(copies(expert, node), 1);
}

void NodeState::add_copy(std::int32_t expert, std::int32_t node, std::int32_t count) {
  std::int32_t& here = copies_[expert * shape_.num_nodes + node];
  holders_[expert] -= here > 0;
  here += count;
  holders_[expert] += here > 0;
  replicas_[expert] += count;
}

void NodeState::add_loads(std::int32_t expert, std::int64_t sign) {
  for (std::int32_t node = 0; node < shape_.num_nodes; ++node) {
    const std::int32_t here = copies(expert, node);
    if (here == 0) continue;
    const std::int64_t load = node_load(expert, node);
    node_loads_[node] += sign * load;
    replica_overload_ += sign * std::max<std::int64_t>(load - limits_.replica_load * here, 0);
    if (!minds_ranks()) continue;
    const std::int32_t first = node * shape_.ranks_per_node();
    for (std::int32_t rank = first; rank < first + shape_.ranks_per_node(); ++rank) {
      rank_loads_[rank] += sign * rank_copies_[expert * shape_.num_ranks + rank] * (load / here);
    }
  }
}

std::int64_t NodeState::measured_overload() const {
  std::int64_t overload = replica_overload_;
  for (const std::int64_t load : node_loads_) {
    overload += std::max<std::int64_t>(load - limits_.node_load, 0);
  }
  if (!minds_ranks()) return overload;
  for (const std::int64_t load : rank_loads_) {
    overload += std::max<std::int64_t>(load - limits_.rank_load, 0);
  }
  return overload;
}

void NodeState::apply(std::span<const Change> changes) {
  for (const std::int32_t expert : touched_) add_loads(expert, -1);
  for (const Change& change : changes) {
    std::int32_t& place = experts_[change.node][change.place];
    const std::int32_t rank = rank_of(change.node, change.place);
    add_copy(place, change.node, -1);
    --rank_copies_[place * shape_.num_ranks + rank];
    place = change.expert;
    add_copy(place, change.node, 1);
    ++rank_copies_[place * shape_.num_ranks + rank];
  }
  for (const std::int32_t expert : touched_) add_loads(expert, 1);
}

NodeState::Effect NodeState::propose(std::span<const Change> changes, std::int64_t most_overload) {
  pending_.clear();
  touched_.clear();
  const auto touch = [&](std::int32_t expert) {
    if (std::ranges::find(touched_, expert) == touched_.end()) touched_.push_back(expert);
  };
  for (const Change& change : changes) {
    const std::int32_t old = experts_[change.node][change.place];
    pending_.insert(pending_.begin(), {change.node, change.place, old});
    touch(old);
    touch(change.expert);
  }
  apply(changes);
  effect_ = {.possible = false, .cost = cost_, .overload = measured_overload()};
  const bool within_node = changes.size() == 2 && changes[0].node == changes[1].node;
  effect_.possible = effect_.overload <= most_overload;
  costs_pending_ = effect_.possible && !within_node;
  if (!costs_pending_) return effect_;
  for (const std::int32_t expert : touched_) {
    costs_.set_copies(expert,
                      std::span(copies_).subspan(expert * shape_.num_nodes, shape_.num_nodes));
  }
  effect_.cost += costs_.change_of(touched_);
  return effect_;
}

void NodeState::keep() {
  if (costs_pending_) costs_.keep();
  cost_ = effect_.cost;
  overload_ = effect_.overload;
}

void NodeState::undo() {
  apply(pending_);
  if (!costs_pending_) return;
  for (const std::int32_t expert : touched_) {
    costs_.set_copies(expert,
                      std::span(copies_).subspan(expert * shape_.num_nodes, shape_.num_nodes));
  }
}

}  // namespace trireme::eplb
