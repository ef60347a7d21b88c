#include "eplb/replica_share.h"

#include <algorithm>

#include "base/error.h"
#include "eplb/fixed_point.h"

namespace trireme::eplb {

namespace {

__extension__ using Wide = __int128;

/// The slots of one expert, and the sums of their weights by rank, by node and over all.
class Replicas {
 public:
  Replicas(const Shape& shape, ReplicaChoice choice)
      : shape_(shape),
        choice_(choice),
        rank_weight_(shape.num_ranks, 0),
        node_weight_(shape.num_nodes, 0),
        node_holders_(shape.num_nodes, 0) {}

  void add(std::int32_t slot, std::int64_t weight) {
    slots_.push_back({slot, weight});
    const std::int32_t rank = rank_of(slot), node = node_of(slot);
    if (rank_weight_[rank] == 0 && node_holders_[node]++ == 0) ++nodes_with_;
    rank_weight_[rank] += weight;
    node_weight_[node] += weight;
    weight_ += weight;
  }

  void write_shares(std::vector<std::int64_t>& shares) const {
    std::int64_t left = kWholeShare;
    for (const auto& [slot, weight] : slots_) {
      shares[slot] = share(slot, weight);
      left -= shares[slot];
    }
    for (std::size_t next = 0; left > 0; next = (next + 1) % slots_.size(), --left) {
      ++shares[slots_[next].slot];  // what rounding down left over
    }
  }

 private:
  struct Slot {
    std::int32_t slot;
    std::int64_t weight;
  };

  std::int32_t rank_of(std::int32_t slot) const { return slot / shape_.slots_per_rank; }
  std::int32_t node_of(std::int32_t slot) const { return rank_of(slot) / shape_.ranks_per_node(); }

  std::int64_t share(std::int32_t slot, std::int64_t weight) const {
    const auto part = [&](std::int64_t homes, std::int64_t of_weight, std::int64_t all_homes) {
      return static_cast<std::int64_t>(Wide{kWholeShare} * homes * weight /
                                       (Wide{of_weight} * all_homes));
    };
    if (choice_ == ReplicaChoice::quota) return part(1, weight_, 1);
    const std::int32_t rank = rank_of(slot), node = node_of(slot);
    const std::int32_t per_node = shape_.ranks_per_node();
    return part(1, rank_weight_[rank], shape_.num_ranks) +
           part(per_node - node_holders_[node], node_weight_[node], shape_.num_ranks) +
           part(shape_.num_nodes - nodes_with_, weight_, shape_.num_nodes);
  }

  Shape shape_;
  ReplicaChoice choice_;
  std::vector<Slot> slots_;
  std::vector<std::int64_t> rank_weight_, node_weight_;
  std::vector<std::int32_t> node_holders_;  // ranks of the node that have the expert
  std::int32_t nodes_with_ = 0;
  std::int64_t weight_ = 0;
};

}  // namespace

std::vector<std::int64_t> replica_shares(std::span<const std::int32_t> expert_of_slot,
                                         std::span<const std::int32_t> slot_weights,
                                         const Shape& shape, ReplicaChoice choice) {
  TRIREME_CHECK(std::ssize(expert_of_slot) == shape.num_slots(), expert_of_slot.size(), " slots");
  TRIREME_CHECK(slot_weights.empty() || slot_weights.size() == expert_of_slot.size(),
                slot_weights.size(), " weights for ", expert_of_slot.size(), " slots");
  std::vector<std::vector<std::int32_t>> slots_of(shape.num_experts);
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    if (expert_of_slot[slot] >= 0) slots_of.at(expert_of_slot[slot]).push_back(slot);
  }
  std::vector<std::int64_t> shares(expert_of_slot.size(), 0);
  for (const auto& slots : slots_of) {
    if (slots.empty()) continue;
    Replicas replicas(shape, choice);
    for (const std::int32_t slot : slots) {
      replicas.add(slot, slot_weights.empty() ? 1 : slot_weights[slot]);
    }
    replicas.write_shares(shares);
  }
  return shares;
}

std::vector<std::int64_t> rank_loads(std::span<const std::int64_t> loads,
                                     std::span<const std::int32_t> expert_of_slot,
                                     std::span<const std::int64_t> shares, const Shape& shape) {
  std::vector<std::int64_t> ranks(shape.num_ranks, 0);
  for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot) {
    if (expert_of_slot[slot] < 0) continue;
    const Wide load = Wide{loads[expert_of_slot[slot]]} * shares[slot];
    ranks[slot / shape.slots_per_rank] += static_cast<std::int64_t>(load / kWholeShare);
  }
  return ranks;
}

double balance_of_choice(std::span<const std::int64_t> loads,
                         std::span<const std::int32_t> expert_of_slot,
                         std::span<const std::int32_t> slot_weights, const Shape& shape,
                         ReplicaChoice choice) {
  const auto units = to_mean_units(loads, shape.num_ranks);
  if (std::ranges::all_of(units, [](std::int64_t load) { return load == 0; })) return 1;
  const auto shares = replica_shares(expert_of_slot, slot_weights, shape, choice);
  const auto ranks = rank_loads(units, expert_of_slot, shares, shape);
  return static_cast<double>(*std::ranges::max_element(ranks)) / static_cast<double>(kMeanLoad);
}

}  // namespace trireme::eplb
