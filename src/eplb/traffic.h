#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/placement.h"
#include "eplb/shape.h"

namespace trireme::eplb {

/// The experts that tokens of one layer chose, and where the tokens are.
struct Choices {
  std::span<const std::int16_t> experts;  ///< [tokens, top_k], -1: none
  std::span<const std::int32_t> home;     ///< [tokens] rank that holds the token
  std::int64_t top_k = 0;
};

/// To how many nodes other than its own a token is sent, averaged over tokens: the expected number
/// of distinct nodes among the replicas that compute it.
///   slot_weights  [slots] ≥ 1, or empty: all alike
double remote_nodes_per_token(const Choices& choices, std::span<const std::int32_t> expert_of_slot,
                              std::span<const std::int32_t> slot_weights, const Shape& shape,
                              ReplicaChoice choice);

struct TrafficOptions {
  std::uint64_t seed = 0;
  ReplicaChoice choice = ReplicaChoice::home;
  double tolerance = 0.01;  ///< how far balance may lie above lowest_balance
  /// What can be had without regard to traffic; 0: what the start has if replicas share evenly.
  double lowest_balance = 0;
  std::int64_t num_steps = 200'000;  ///< of annealing
  std::int64_t most_tokens = 8192;   ///< of more, evenly spaced ones are used
};

/// A placement that sends tokens to few nodes while balance, with replicas chosen by the rule,
/// stays within the tolerance. First the nodes are given their experts, by annealing on the tokens'
/// choices; then each node's ranks are filled evenly. Without choices only loads are looked at:
/// with home-first, replicas come to lie on different nodes and each node is balanced; else the
/// start is as good as any. No rank has an expert twice unless the start leaves no other way. The
/// result depends on nothing but the arguments.
///   loads           [experts]
///   expert_of_slot  [slots] a balanced placement to start from
///   returns         [slots]; where the tolerance cannot be kept, the best balanced one met, or the
///   start
std::vector<std::int32_t> plan_traffic(std::span<const std::int64_t> loads, const Choices& choices,
                                       std::span<const std::int32_t> expert_of_slot,
                                       const Shape& shape, const TrafficOptions& options);

}  // namespace trireme::eplb
