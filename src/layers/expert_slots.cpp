#include "layers/expert_slots.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/mix.h"

namespace trireme::layers {
namespace {

/// Expert e in slot e: EP rank r owns experts [r · E / EP, (r + 1) · E / EP).
eplb::LayerPlacement identity(std::int32_t layer, std::int64_t num_experts) {
  eplb::LayerPlacement placed;
  placed.layer = layer;
  placed.expert_of_slot.resize(static_cast<std::size_t>(num_experts));
  std::iota(placed.expert_of_slot.begin(), placed.expert_of_slot.end(), 0);
  return placed;
}

eplb::LayerPlacement placed_layer(std::int32_t layer, std::int64_t num_experts,
                                  const eplb::Placement* placement) {
  if (placement == nullptr) return identity(layer, num_experts);
  const auto found = std::ranges::find(placement->layers, layer, &eplb::LayerPlacement::layer);
  TRIREME_CHECK(found != placement->layers.end(), "layer=", layer);
  return *found;
}

/// The replicas on `ep_rank`, else those on its node, else all.
std::vector<std::int32_t> nearest_slots(const std::vector<std::int32_t>& slots,
                                        std::int32_t ep_rank, std::int32_t slots_of_rank,
                                        const std::vector<std::int32_t>& node_of_ep_rank) {
  std::vector<std::int32_t> on_rank, on_node;
  for (const std::int32_t slot : slots) {
    const std::int32_t rank = slot / slots_of_rank;
    if (rank == ep_rank) on_rank.push_back(slot);
    if (node_of_ep_rank.empty() || node_of_ep_rank[static_cast<std::size_t>(rank)] ==
                                       node_of_ep_rank[static_cast<std::size_t>(ep_rank)]) {
      on_node.push_back(slot);
    }
  }
  return !on_rank.empty() ? on_rank : !on_node.empty() ? on_node : slots;
}

}  // namespace

ExpertSlots::ExpertSlots(std::int32_t layer, std::int64_t num_experts, const Shard& shard,
                         const ExpertPlacement& placement)
    : ep_rank_(shard.moe_ep_rank), layer_key_(splitmix64(static_cast<std::uint64_t>(layer))) {
  const eplb::LayerPlacement placed = placed_layer(layer, num_experts, placement.placement);
  const auto num_slots = static_cast<std::int32_t>(placed.expert_of_slot.size());
  TRIREME_CHECK(num_slots % shard.moe_ep_size == 0, "layer=", layer, " num_slots=", num_slots,
                " moe_ep_size=", shard.moe_ep_size);
  slots_of_rank_ = num_slots / shard.moe_ep_size;
  const auto own = placed.expert_of_slot.begin() + ep_rank_ * slots_of_rank_;
  local_experts_.assign(own, own + slots_of_rank_);

  std::vector<std::vector<std::int32_t>> slots_of_expert(static_cast<std::size_t>(num_experts));
  for (std::int32_t slot = 0; slot < num_slots; ++slot) {
    const std::int32_t expert = placed.expert_of_slot[static_cast<std::size_t>(slot)];
    TRIREME_CHECK(expert >= 0 && expert < num_experts, "layer=", layer, " slot=", slot,
                  " expert=", expert);
    slots_of_expert[static_cast<std::size_t>(expert)].push_back(slot);
  }
  for (const auto& slots : slots_of_expert) add_range(all_, slots, placed);
  near_ = all_;
  if (placement.placement == nullptr ||
      placement.placement->replica_choice != eplb::ReplicaChoice::home) {
    return;
  }
  near_.clear();
  for (const auto& slots : slots_of_expert) {
    add_range(near_, nearest_slots(slots, ep_rank_, slots_of_rank_, placement.node_of_ep_rank),
              placed);
  }
}

void ExpertSlots::add_range(std::vector<Range>& ranges, std::span<const std::int32_t> slots,
                            const eplb::LayerPlacement& placed) {
  TRIREME_CHECK(!slots.empty(), "layer=", placed.layer, " expert=", ranges.size());
  Range range{static_cast<std::int32_t>(replicas_.size()), 0};
  std::uint32_t weight_end = 0;
  for (const std::int32_t slot : slots) {
    weight_end +=
        placed.slot_weights.empty()
            ? 1U
            : static_cast<std::uint32_t>(placed.slot_weights[static_cast<std::size_t>(slot)]);
    replicas_.push_back({{slot / slots_of_rank_, slot % slots_of_rank_}, weight_end});
  }
  range.end = static_cast<std::int32_t>(replicas_.size());
  ranges.push_back(range);
}

void ExpertSlots::choose(const std::vector<Range>& ranges, std::span<const std::int32_t> expert_ids,
                         std::span<const std::uint64_t> token_keys,
                         std::span<comm::ExpertTarget> targets) const {
  if (expert_ids.empty()) return;
  TRIREME_CHECK(!token_keys.empty() && expert_ids.size() % token_keys.size() == 0,
                "ids=", expert_ids.size(), " tokens=", token_keys.size());
  const std::size_t top_k = expert_ids.size() / token_keys.size();
  for (std::size_t i = 0; i < expert_ids.size(); ++i) {
    const auto expert = static_cast<std::size_t>(expert_ids[i]);
    const Range range = ranges[expert];
    const Replica* replica = &replicas_[static_cast<std::size_t>(range.begin)];
    if (range.end - range.begin > 1) {
      const std::uint64_t key = splitmix64(token_keys[i / top_k] ^ (layer_key_ + expert));
      const std::uint64_t sum = replicas_[static_cast<std::size_t>(range.end) - 1].weight_end;
      const std::uint64_t at = ((key >> 32) * sum) >> 32;
      while (at >= replica->weight_end) ++replica;
    }
    targets[i] = replica->target;
  }
}

void ExpertSlots::targets_of_own(std::span<const std::int32_t> expert_ids,
                                 std::span<const std::uint64_t> token_keys,
                                 std::span<comm::ExpertTarget> targets) const {
  choose(near_, expert_ids, token_keys, targets);
}

void ExpertSlots::targets_of_shared(std::span<const std::int32_t> expert_ids,
                                    std::span<const std::uint64_t> token_keys,
                                    std::span<comm::ExpertTarget> targets) const {
  choose(all_, expert_ids, token_keys, targets);
}

void ExpertSlots::local_slots(std::span<const comm::ExpertTarget> targets,
                              std::span<std::int32_t> slots) const {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    slots[i] = targets[i].moe_ep_rank == ep_rank_ ? targets[i].local_slot : -1;
  }
}

}  // namespace trireme::layers
