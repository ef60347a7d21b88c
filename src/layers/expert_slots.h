#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/expert_exchange.h"
#include "layers/shard.h"

namespace trireme::layers {

/// Where the experts of one layer live: the only place that knows. Each EP rank owns equally many
/// slots, and a slot holds one expert.
class ExpertSlots {
 public:
  /// Expert e in slot e: EP rank r owns experts [r · E / EP, (r + 1) · E / EP).
  static ExpertSlots identity(std::int64_t num_experts, const Shard& shard);

  /// Experts whose weights this rank holds, by local slot.
  std::span<const std::int32_t> local_experts() const { return local_experts_; }

  /// For each chosen expert the rank and slot that compute it.
  void targets(std::span<const std::int32_t> expert_ids,
               std::span<comm::ExpertTarget> targets) const;
  /// For each chosen expert this rank's slot, or -1 if another rank computes it.
  void local_slots(std::span<const std::int32_t> expert_ids, std::span<std::int32_t> slots) const;

 private:
  std::int32_t ep_rank_ = 0;
  std::vector<comm::ExpertTarget> target_of_expert_;
  std::vector<std::int32_t> local_experts_;
};

}  // namespace trireme::layers
