#include "layers/expert_slots.h"

#include "base/error.h"

namespace trireme::layers {

ExpertSlots ExpertSlots::identity(std::int64_t num_experts, const Shard& shard) {
  TRIREME_CHECK(num_experts % shard.moe_ep_size == 0, "num_experts=", num_experts,
                " moe_ep_size=", shard.moe_ep_size);
  const std::int64_t slots_of_rank = num_experts / shard.moe_ep_size;
  ExpertSlots result;
  result.ep_rank_ = shard.moe_ep_rank;
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    const comm::ExpertTarget target{static_cast<std::int32_t>(expert / slots_of_rank),
                                    static_cast<std::int32_t>(expert % slots_of_rank)};
    result.target_of_expert_.push_back(target);
    if (target.moe_ep_rank == result.ep_rank_) {
      result.local_experts_.push_back(static_cast<std::int32_t>(expert));
    }
  }
  return result;
}

void ExpertSlots::targets(std::span<const std::int32_t> expert_ids,
                          std::span<comm::ExpertTarget> targets) const {
  for (std::size_t i = 0; i < expert_ids.size(); ++i) {
    targets[i] = target_of_expert_[static_cast<std::size_t>(expert_ids[i])];
  }
}

void ExpertSlots::local_slots(std::span<const std::int32_t> expert_ids,
                              std::span<std::int32_t> slots) const {
  for (std::size_t i = 0; i < expert_ids.size(); ++i) {
    const comm::ExpertTarget& target = target_of_expert_[static_cast<std::size_t>(expert_ids[i])];
    slots[i] = target.moe_ep_rank == ep_rank_ ? target.local_slot : -1;
  }
}

}  // namespace trireme::layers
