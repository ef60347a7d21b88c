#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/placement_file.h"
#include "eplb/shape.h"

namespace trireme::eplb {

enum class Method : std::uint8_t {
  trireme,   ///< the search of this program, never above DeepSeek's placement
  deepseek,  ///< DeepSeek's algorithm as published
};

/// What balance is measured on.
enum class Objective : std::uint8_t {
  total,    ///< the sum of all loads
  windows,  ///< the mean of the balances of the windows of time
  domains,  ///< the mean of the balances of the domains
};

/// How the replicas of an expert share its tokens.
enum class Split : std::uint8_t { even, by_weights };

/// What is known of one layer, and what is wanted.
struct LayerTask {
  std::int32_t layer = 0;  ///< the model's number
  Shape shape;
  Method method = Method::trireme;
  Objective objective = Objective::total;
  Split split = Split::even;
  ReplicaChoice choice = ReplicaChoice::quota;
  std::int32_t num_groups = 1;  ///< of experts, for DeepSeek's hierarchical placement
  std::uint64_t seed = 0;
  double traffic_tolerance = 0.01;  ///< how far balance may rise to send tokens to fewer nodes

  std::vector<std::int64_t> loads;             ///< [experts] the total
  std::vector<std::int64_t> scenarios;         ///< [windows or domains, experts]; total: empty
  std::span<const std::int16_t> choices = {};  ///< [tokens · top_k], or empty
  std::span<const std::int32_t> home = {};     ///< [tokens] rank
  std::int64_t top_k = 0;

  std::span<const std::int32_t> previous = {};  ///< [slots] to change little of, or empty
  std::int64_t most_changed = 0;                ///< slots that may differ from `previous`
};

/// A layer with its placement.
struct PlannedLayer {
  LayerPlacement placement;
  LayerFacts facts;  ///< by the objective: the mean over windows or domains, or of the total
  double total_balance = 0;         ///< on the sum of all loads
  std::int32_t most_replicas = 0;   ///< of one expert
  std::int32_t num_replicated = 0;  ///< experts with several replicas
  std::int64_t num_changed = 0;     ///< slots that differ from the previous placement
  double remote_nodes = 0;          ///< a token is sent to, of `choices`; else 0
  double deepseek_remote_nodes = 0;
};

/// Plans one layer. Depends on nothing but the task.
PlannedLayer plan_layer(const LayerTask& task);

/// Balance without any placement: experts in the order of their numbers, as evenly spread over the
/// ranks as their number allows.
double balance_in_order(std::span<const std::int64_t> loads, std::int32_t num_ranks);

}  // namespace trireme::eplb
