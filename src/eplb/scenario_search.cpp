#include "eplb/scenario_search.h"

#include <algorithm>

#include "eplb/cooling.h"
#include "eplb/random.h"

namespace trireme::eplb {

namespace {

class Search {
 public:
  Search(ScenarioState state, const Shape& shape, const ScenarioOptions& options,
         std::int64_t num_scenarios)
      : state_(std::move(state)),
        shape_(shape),
        options_(options),
        num_scenarios_(num_scenarios),
        random_(options.seed),
        cooling_(kFirstTemperature * static_cast<double>(state_.cost()) / shape.num_slots(),
                 kHalvings, options.num_steps),
        best_(state_.expert_of_slot()),
        best_cost_(state_.cost()) {
    if (options.previous.empty()) return;
    old_counts_.assign(shape.num_experts * shape.num_ranks, 0);
    for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
      ++old_count(options.previous[slot], state_.rank_of(slot));
    }
  }

  std::vector<std::int32_t> run() {
    if (shape_.num_ranks < 2) return best_;
    for (std::int64_t step = 0; step < options_.num_steps; ++step) {
      const std::int32_t slot = propose_slot();
      if (random_.below(8) < kRetargetsOfEight) {
        try_retarget(slot, random_.below(shape_.num_experts));
      } else {
        try_swap(slot, random_.below(shape_.num_slots()));
      }
      cooling_.cool();
    }
    keep_best();
    return best_;
  }

 private:
  static constexpr double kFirstTemperature = 0.15;  // of the cost per slot
  static constexpr double kHalvings = 9;
  static constexpr std::int32_t kRetargetsOfEight = 1;

  std::int32_t propose_slot() {
    if (random_.below(2) == 0) return random_.below(shape_.num_slots());
    const auto scenario = random_.below(static_cast<std::int32_t>(num_scenarios_));
    return state_.hottest_rank(scenario) * shape_.slots_per_rank +
           random_.below(shape_.slots_per_rank);
  }

  void try_swap(std::int32_t slot, std::int32_t other) {
    const std::int32_t expert = state_.expert_of_slot()[slot];
    const std::int32_t other_expert = state_.expert_of_slot()[other];
    const std::int32_t rank = state_.rank_of(slot), other_rank = state_.rank_of(other);
    if (rank == other_rank || expert == other_expert) return;
    if (state_.count(expert, other_rank) > 0 || state_.count(other_expert, rank) > 0) return;
    const std::int64_t moved =
        moves(expert, other_expert, rank) + moves(other_expert, expert, other_rank);
    if (moved > 0 && moved_ + moved > options_.max_moved && !old_counts_.empty()) return;
    const std::int64_t cost = state_.cost_of_swap(slot, other);
    if (!cooling_.accepts(static_cast<double>(cost - state_.cost()), random_)) return;
    keep_best_before(cost);
    moved_ += moved;
    state_.swap(slot, other, cost);
  }

  void try_retarget(std::int32_t slot, std::int32_t expert) {
    const std::int32_t old = state_.expert_of_slot()[slot], rank = state_.rank_of(slot);
    if (expert == old || state_.replicas(old) < 2 || state_.count(expert, rank) > 0) return;
    const std::int64_t moved = moves(old, expert, rank);
    if (moved > 0 && moved_ + moved > options_.max_moved && !old_counts_.empty()) return;
    const std::int64_t cost = state_.cost_of_retarget(slot, expert);
    if (!cooling_.accepts(static_cast<double>(cost - state_.cost()), random_)) return;
    keep_best_before(cost);
    moved_ += moved;
    state_.retarget(slot, expert, cost);
  }

  std::int32_t& old_count(std::int32_t expert, std::int32_t rank) {
    return old_counts_[expert * shape_.num_ranks + rank];
  }

  /// How many more replicas would be on a rank that were not there before, if one expert made room
  /// for another.
  std::int64_t moves(std::int32_t leaving, std::int32_t coming, std::int32_t rank) {
    if (old_counts_.empty()) return 0;
    const std::int64_t arrives = state_.count(coming, rank) >= old_count(coming, rank);
    const std::int64_t returns = state_.count(leaving, rank) > old_count(leaving, rank);
    return arrives - returns;
  }

  /// The placement is copied only when the search is about to leave the best one.
  void keep_best_before(std::int64_t new_cost) {
    if (new_cost > state_.cost()) keep_best();
  }
  void keep_best() {
    if (state_.cost() >= best_cost_) return;
    best_cost_ = state_.cost();
    best_ = state_.expert_of_slot();
  }

  ScenarioState state_;
  Shape shape_;
  const ScenarioOptions& options_;
  std::int64_t num_scenarios_;
  Random random_;
  Cooling cooling_;
  std::vector<std::int32_t> old_counts_;  // [experts, ranks] of the previous placement; or empty
  std::int64_t moved_ = 0;                // replicas on ranks that they were not on before
  std::vector<std::int32_t> best_;
  std::int64_t best_cost_;
};

}  // namespace

std::vector<std::int32_t> search_scenarios(ScenarioState state, const Shape& shape,
                                           const ScenarioOptions& options) {
  const std::int64_t num_scenarios = state.num_scenarios();
  return Search(std::move(state), shape, options, num_scenarios).run();
}

}  // namespace trireme::eplb
