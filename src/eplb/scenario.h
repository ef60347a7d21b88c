#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/shape.h"

namespace trireme::eplb {

/// Loads of one layer under several conditions, which are windows of time or domains of prompts.
/// All scenarios weigh the same: each is scaled to the total kScenarioLoad, so that rounding stays
/// below 1e-4 of a rank's load and the sums of a search fit 32 bits.
struct Scenarios {
  std::int64_t num_scenarios = 0;
  std::int64_t num_experts = 0;
  std::vector<std::int32_t> loads = {};  ///< [scenarios, experts] ≥ 0
};
inline constexpr std::int32_t kScenarioLoad = 1 << 26;

/// More scenarios than this are merged: a search costs time for each.
inline constexpr std::int64_t kMostScenarios = 64;

/// Scales counts to scenarios of equal weight. Scenarios without any load are left out; neighbours
/// are added up where there are more than kMostScenarios.
///   counts  [scenarios, experts] ≥ 0
Scenarios make_scenarios(std::span<const std::int64_t> counts, std::int64_t num_experts);

/// Takes the noise of single windows out: keeps of the matrix of all scenarios only the parts whose
/// singular value is above twice the median. Windows that differ only by chance become equal, those
/// that mix a few workloads become exact mixtures. With fewer than four scenarios there is no
/// median to speak of, and they are returned as they are.
Scenarios denoise(const Scenarios& scenarios);

struct ScenarioOptions {
  std::uint64_t seed = 0;
  std::int64_t num_steps = 300'000;  ///< of annealing
  /// A placement to start from, [slots]; empty: start afresh.
  std::span<const std::int32_t> previous = {};
  std::int64_t max_moved = 0;  ///< slots that may differ from `previous`
};

/// A placement for which the most loaded rank, averaged over the scenarios, is low. Replicas share
/// evenly; a rank has an expert twice only if there are more slots than ranks · experts. The result
/// depends on nothing but the arguments.
///   returns  [slots] the expert of each slot
std::vector<std::int32_t> plan_scenarios(const Scenarios& scenarios, const Shape& shape,
                                         const ScenarioOptions& options);

/// Highest load of a rank over the mean of all ranks, averaged over scenarios, replicas sharing
/// evenly.
///   counts          [scenarios, experts]; scenarios without load are left out
///   expert_of_slot  [slots]
double scenario_balance(std::span<const std::int64_t> counts, std::int64_t num_experts,
                        std::span<const std::int32_t> expert_of_slot, std::int32_t num_ranks);

}  // namespace trireme::eplb
