#include "eplb/layer_state.h"

#include <utility>

#include "base/error.h"

namespace trireme::eplb {

LayerState::LayerState(std::span<const std::int64_t> loads, const Shape& shape,
                       std::vector<std::int32_t> expert_of_slot)
    : shape_(shape),
      loads_(loads.begin(), loads.end()),
      expert_of_slot_(std::move(expert_of_slot)),
      slot_loads_(shape.num_slots(), 0),
      rank_loads_(shape.num_ranks, 0),
      slots_of_expert_(shape.num_experts),
      held_(static_cast<std::size_t>(shape.num_ranks) * shape.num_experts, 0) {
  TRIREME_CHECK(static_cast<std::int32_t>(loads_.size()) == shape.num_experts, loads_.size());
  TRIREME_CHECK(static_cast<std::int32_t>(expert_of_slot_.size()) == shape.num_slots(),
                expert_of_slot_.size());
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    const std::int32_t expert = expert_of_slot_[slot];
    TRIREME_CHECK(expert >= 0 && expert < shape.num_experts, "slot ", slot, " holds ", expert);
    rank_of_slot_.push_back(slot / shape.slots_per_rank);
    slots_of_expert_[expert].push_back(slot);
    ++held(rank_of_slot_[slot], expert);
  }
  for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
    TRIREME_CHECK(!slots_of_expert_[expert].empty(), "expert ", expert, " has no slot");
    share_again(expert);
  }
}

void LayerState::swap(std::int32_t a, std::int32_t b) {
  const std::int32_t expert_a = expert_of_slot_[a], expert_b = expert_of_slot_[b];
  const std::int32_t rank_a = rank_of_slot_[a], rank_b = rank_of_slot_[b];
  std::ranges::replace(slots_of_expert_[expert_a], a, b);
  std::ranges::replace(slots_of_expert_[expert_b], b, a);
  std::swap(expert_of_slot_[a], expert_of_slot_[b]);
  const std::int64_t less = slot_loads_[a] - slot_loads_[b];
  rank_loads_[rank_a] -= less;
  rank_loads_[rank_b] += less;
  std::swap(slot_loads_[a], slot_loads_[b]);
  --held(rank_a, expert_a);
  --held(rank_b, expert_b);
  ++held(rank_a, expert_b);
  ++held(rank_b, expert_a);
}

void LayerState::retarget(std::int32_t slot, std::int32_t expert) {
  const std::int32_t rank = rank_of_slot_[slot], old = expert_of_slot_[slot];
  TRIREME_ASSERT(replicas(old) > 1 && old != expert, "slot ", slot);
  rank_loads_[rank] -= slot_loads_[slot];
  slot_loads_[slot] = 0;
  std::erase(slots_of_expert_[old], slot);
  slots_of_expert_[expert].push_back(slot);
  expert_of_slot_[slot] = expert;
  --held(rank, old);
  ++held(rank, expert);
  share_again(old);
  share_again(expert);
}

void LayerState::share_again(std::int32_t expert) {
  const std::int64_t each = share(expert, replicas(expert));
  for (const std::int32_t slot : slots_of_expert_[expert]) {
    rank_loads_[rank_of_slot_[slot]] += each - slot_loads_[slot];
    slot_loads_[slot] = each;
  }
}

}  // namespace trireme::eplb
