#include "eplb/traffic.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "eplb/fixed_point.h"
#include "eplb/replica_share.h"
#include "eplb/traffic_packing.h"
#include "eplb/traffic_search.h"
#include "eplb/traffic_state.h"
#include "eplb/traffic_tokens.h"

namespace trireme::eplb {

namespace {

/// How the weight of an expert's slots lies on nodes.
struct Weights {
  std::vector<std::int64_t> of_node;  // [experts, nodes]
  std::vector<std::int64_t> of_expert;
};

Weights sum_weights(std::span<const std::int32_t> expert_of_slot,
                    std::span<const std::int32_t> slot_weights, const Shape& shape) {
  Weights sums{std::vector<std::int64_t>(shape.num_experts * shape.num_nodes, 0),
               std::vector<std::int64_t>(shape.num_experts, 0)};
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    const std::int32_t expert = expert_of_slot[slot];
    if (expert < 0) continue;
    const std::int32_t rank = slot / shape.slots_per_rank, node = rank / shape.ranks_per_node();
    const std::int64_t weight = slot_weights.empty() ? 1 : slot_weights[slot];
    sums.of_node[expert * shape.num_nodes + node] += weight;
    sums.of_expert[expert] += weight;
  }
  return sums;
}

/// The placement that the experts of the nodes give, each node packed by itself.
std::vector<std::int32_t> pack_nodes(const NodeState& state, const Shape& shape,
                                     std::int64_t enough, std::uint64_t seed) {
  std::vector<std::int32_t> expert_of_slot;
  for (std::int32_t node = 0; node < shape.num_nodes; ++node) {
    std::vector<Replica> replicas;
    for (const std::int32_t expert : state.experts(node)) {
      replicas.push_back({expert, state.replica_load(expert, node)});
    }
    const auto packed = pack_node(replicas, shape.ranks_per_node(), enough, seed);
    expert_of_slot.insert(expert_of_slot.end(), packed.begin(), packed.end());
  }
  return expert_of_slot;
}

/// [slots]
std::vector<std::int32_t> all_experts(const NodeState& state, const Shape& shape) {
  std::vector<std::int32_t> expert_of_slot;
  for (std::int32_t node = 0; node < shape.num_nodes; ++node) {
    const auto& experts = state.experts(node);
    expert_of_slot.insert(expert_of_slot.end(), experts.begin(), experts.end());
  }
  return expert_of_slot;
}

std::int64_t units_of(double mean_ranks) {
  return static_cast<std::int64_t>(mean_ranks * static_cast<double>(kMeanLoad));
}

}  // namespace

double remote_nodes_per_token(const Choices& choices, std::span<const std::int32_t> expert_of_slot,
                              std::span<const std::int32_t> slot_weights, const Shape& shape,
                              ReplicaChoice choice) {
  const auto weights = sum_weights(expert_of_slot, slot_weights, shape);
  double total = 0;
  std::vector<double> miss(shape.num_nodes);
  for (std::size_t token = 0; token < choices.home.size(); ++token) {
    const std::int32_t home = choices.home[token] / shape.ranks_per_node();
    std::ranges::fill(miss, 1.0);
    for (const std::int16_t expert :
         choices.experts.subspan(token * choices.top_k, choices.top_k)) {
      if (expert < 0) continue;
      const std::int64_t* of_node = &weights.of_node[expert * shape.num_nodes];
      if (choice == ReplicaChoice::home && of_node[home] > 0) continue;
      for (std::int32_t node = 0; node < shape.num_nodes; ++node) {
        miss[node] *=
            1 - static_cast<double>(of_node[node]) / static_cast<double>(weights.of_expert[expert]);
      }
    }
    for (std::int32_t node = 0; node < shape.num_nodes; ++node) {
      if (node != home) total += 1 - miss[node];
    }
  }
  return choices.home.empty() ? 0 : total / static_cast<double>(choices.home.size());
}

std::vector<std::int32_t> plan_traffic(std::span<const std::int64_t> loads, const Choices& choices,
                                       std::span<const std::int32_t> expert_of_slot,
                                       const Shape& shape, const TrafficOptions& options) {
  TRIREME_CHECK(std::ssize(expert_of_slot) == shape.num_slots(), expert_of_slot.size(), " slots");
  std::vector<std::int32_t> best(expert_of_slot.begin(), expert_of_slot.end());
  const auto units = to_mean_units(loads, shape.num_ranks);
  // Without choices it matters only under home-first whether a replica is near.
  const bool matters = !choices.home.empty() || options.choice == ReplicaChoice::home;
  if (shape.num_nodes == 1 || !matters || *std::ranges::max_element(units) == 0) return best;
  const auto tokens = make_tokens(choices, units, shape, options.most_tokens);
  const double lowest =
      options.lowest_balance > 0 ? options.lowest_balance : balance(loads, best, shape.num_ranks);
  const double limit = lowest * (1 + options.tolerance);
  double best_balance = balance_of_choice(loads, best, {}, shape, options.choice);
  const auto keep_better = [&](const std::vector<std::int32_t>& placed) {
    const double reached = balance_of_choice(loads, placed, {}, shape, options.choice);
    if (reached > limit && reached >= best_balance) return false;
    best_balance = reached;
    best = placed;
    return reached <= limit;
  };
  NodeState state(units, tokens, best, shape, options.choice);
  // Nodes get less room than ranks, and replicas less than a rank, so that the ranks can be packed.
  const double node_room = 0.85 * (limit - 1),
               replica_room = limit * 15 / (shape.slots_per_rank + 14);
  state.set_limits({.node_load = units_of((1 + node_room) * shape.ranks_per_node()),
                    .replica_load = units_of(replica_room)});
  search_nodes(state, tokens, shape, {.seed = options.seed, .num_steps = options.num_steps});
  if (keep_better(pack_nodes(state, shape, units_of(limit), options.seed))) return best;
  // The ranks could not be filled evenly with what their nodes have.
  NodeState packed(units, tokens, best, shape, options.choice);
  packed.set_limits({.rank_load = units_of(limit)});
  search_nodes(packed, tokens, shape,
               {.seed = options.seed, .num_steps = options.num_steps, .afresh = false});
  keep_better(all_experts(packed, shape));
  return best;
}

}  // namespace trireme::eplb
