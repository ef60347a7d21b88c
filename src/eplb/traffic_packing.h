#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::eplb {

/// One replica to be put on a rank of its node.
struct Replica {
  std::int32_t expert;
  std::int64_t load;
};

/// Spreads the replicas of a node over its ranks, equally many on each, so that the most loaded
/// rank has little: heaviest first, each to the lightest rank; exchanges with the most loaded rank
/// while they help; and if that leaves more than `enough` on it, exchanges by annealing. No rank
/// has an expert twice unless an expert has more replicas than ranks.
///   replicas   num_ranks · slots_per_rank of them
///   returns    their experts, rank after rank
std::vector<std::int32_t> pack_node(std::span<const Replica> replicas, std::int32_t num_ranks,
                                    std::int64_t enough, std::uint64_t seed);

}  // namespace trireme::eplb
