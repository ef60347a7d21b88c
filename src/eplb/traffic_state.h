#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/traffic.h"
#include "eplb/traffic_tokens.h"

namespace trireme::eplb {

/// How much may be carried, in units of to_mean_units().
struct NodeLimits {
  static constexpr std::int64_t kNone = std::int64_t{1} << 45;  // times slots it still fits

  std::int64_t node_load = kNone;
  std::int64_t replica_load = kNone;  ///< by one slot
  std::int64_t rank_load = kNone;     ///< kNone: which rank of a node holds what is of no concern
};

/// Which experts each node holds, and thereby the traffic and the load of each node and replica.
class NodeState {
 public:
  ///   loads  [experts] of to_mean_units()
  NodeState(std::span<const std::int64_t> loads, const TokenSet& tokens,
            std::span<const std::int32_t> expert_of_slot, const Shape& shape, ReplicaChoice choice);

  void set_limits(const NodeLimits& limits);

  /// Weighted sum of remote nodes, in units of 1 / TokenCosts::kOneNode.
  std::int64_t cost() const { return cost_; }
  /// By how much the limits are exceeded, all nodes and replicas together.
  std::int64_t overload() const { return overload_; }

  /// [slots of a node] experts, rank after rank.
  const std::vector<std::int32_t>& experts(std::int32_t node) const { return experts_[node]; }
  std::int32_t copies(std::int32_t expert, std::int32_t node) const {
    return copies_[expert * shape_.num_nodes + node];
  }
  /// How often the rank of a place has the expert.
  std::int32_t copies_on_rank(std::int32_t expert, std::int32_t node, std::int32_t place) const {
    return rank_copies_[expert * shape_.num_ranks + rank_of(node, place)];
  }
  bool minds_ranks() const { return limits_.rank_load < NodeLimits::kNone; }
  std::int32_t replicas(std::int32_t expert) const { return replicas_[expert]; }
  /// What each replica of an expert on the node carries.
  std::int64_t replica_load(std::int32_t expert, std::int32_t node) const;

  /// A place of a node that is to hold another expert.
  struct Change {
    std::int32_t node, place, expert;
  };
  /// What changes would do, one, two that exchange experts, or many; keep() or undo() must follow.
  /// Where the overload rises above `most_overload` the cost is not computed and `possible` is
  /// false.
  struct Effect {
    bool possible;
    std::int64_t cost, overload;
  };
  Effect propose(std::span<const Change> changes, std::int64_t most_overload);
  void keep();
  void undo();

 private:
  void add_copy(std::int32_t expert, std::int32_t node, std::int32_t count);
  void add_loads(std::int32_t expert, std::int64_t sign);
  void apply(std::span<const Change> changes);
  std::int64_t node_load(std::int32_t expert, std::int32_t node) const;
  std::int64_t measured_overload() const;
  std::int32_t rank_of(std::int32_t node, std::int32_t place) const {
    return node * shape_.ranks_per_node() + place / shape_.slots_per_rank;
  }

  Shape shape_;
  ReplicaChoice choice_;
  std::vector<std::int64_t> loads_;                 // [experts]
  std::vector<std::vector<std::int32_t>> experts_;  // [nodes][slots of a node]
  std::vector<std::int32_t> copies_;                // [experts, nodes]
  std::vector<std::int32_t> rank_copies_;           // [experts, ranks]
  std::vector<std::int32_t> replicas_;              // [experts]
  std::vector<std::int32_t> holders_;               // [experts] nodes that have it
  std::vector<std::int64_t> node_loads_;            // [nodes]
  std::vector<std::int64_t> rank_loads_;            // [ranks], while ranks are minded
  std::int64_t replica_overload_ = 0;
  NodeLimits limits_;
  TokenCosts costs_;
  std::int64_t cost_ = 0, overload_ = 0;
  std::vector<Change> pending_;  // what undoes the proposal
  std::vector<std::int32_t> touched_;
  Effect effect_{};
  bool costs_pending_ = false;
};

}  // namespace trireme::eplb
