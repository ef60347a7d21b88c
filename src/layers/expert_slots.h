#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/expert_exchange.h"
#include "eplb/placement.h"
#include "layers/shard.h"

namespace trireme::layers {

/// How the experts of a model are placed on the EP ranks of a job.
struct ExpertPlacement {
  const eplb::Placement* placement = nullptr;  ///< null: expert e in slot e; outlives the model
  std::vector<std::int32_t> node_of_ep_rank;   ///< [ep_size]; empty: all on one node
};

/// Where the experts of one layer live: the only place that knows. Each EP rank owns equally many
/// slots, a slot holds one expert, and an expert may be in several slots.
///
/// Which of them computes a token is a function of the layer, the expert, the token's key and,
/// where tokens have a home, of that, with static weights: never of the batch. So no company
/// changes a row, and all ranks that hold a token agree.
class ExpertSlots {
 public:
  /// `layer` is the model's number of it. The placement fits: every expert has a slot, and the
  /// slots are divisible by the EP size.
  ExpertSlots(std::int32_t layer, std::int64_t num_experts, const Shard& shard,
              const ExpertPlacement& placement);

  /// Experts whose weights this rank holds, by local slot.
  std::span<const std::int32_t> local_experts() const { return local_experts_; }

  /// For each chosen expert [num_tokens · top_k] the rank and slot that compute it, chosen for
  /// tokens whose home is this rank.
  ///   token_keys  [num_tokens]
  void targets_of_own(std::span<const std::int32_t> expert_ids,
                      std::span<const std::uint64_t> token_keys,
                      std::span<comm::ExpertTarget> targets) const;
  /// The same for tokens that every rank holds.
  void targets_of_shared(std::span<const std::int32_t> expert_ids,
                         std::span<const std::uint64_t> token_keys,
                         std::span<comm::ExpertTarget> targets) const;
  /// For each target this rank's slot, or -1 if another rank computes it.
  void local_slots(std::span<const comm::ExpertTarget> targets,
                   std::span<std::int32_t> slots) const;

 private:
  /// The replicas among which a token's key chooses: places [begin, end) of replicas_.
  struct Range {
    std::int32_t begin = 0, end = 0;
  };
  struct Replica {
    comm::ExpertTarget target;
    std::uint32_t weight_end = 0;  ///< weights of its range up to here
  };

  void add_range(std::vector<Range>& ranges, std::span<const std::int32_t> slots,
                 const eplb::LayerPlacement& placed);
  void choose(const std::vector<Range>& ranges, std::span<const std::int32_t> expert_ids,
              std::span<const std::uint64_t> token_keys,
              std::span<comm::ExpertTarget> targets) const;

  std::int32_t ep_rank_ = 0;
  std::int32_t slots_of_rank_ = 0;
  std::uint64_t layer_key_ = 0;
  std::vector<Range> all_;   ///< [num_experts] every replica
  std::vector<Range> near_;  ///< [num_experts] those nearest to this rank; as all_ without homes
  std::vector<Replica> replicas_;
  std::vector<std::int32_t> local_experts_;
};

}  // namespace trireme::layers
