#include "eplb/plan_layer.h"

#include <algorithm>
#include <utility>

#include "eplb/deepseek.h"
#include "eplb/incremental.h"
#include "eplb/layer_solver.h"
#include "eplb/lower_bound.h"
#include "eplb/replica_share.h"
#include "eplb/scenario.h"
#include "eplb/split_weights.h"
#include "eplb/traffic.h"

namespace trireme::eplb {

namespace {

using Slots = std::vector<std::int32_t>;

/// Balances that differ by less are equal.
constexpr double kRounding = 1e-9;

/// The mean of `measure` over the scenarios that have any load; of the total alone without them.
template <typename Measure>
double mean_over_loads(const LayerTask& task, const Measure& measure) {
  const std::span<const std::int64_t> all(task.objective == Objective::total ? task.loads
                                                                             : task.scenarios);
  double sum = 0;
  std::int64_t count = 0;
  for (std::size_t begin = 0; begin < all.size(); begin += task.shape.num_experts) {
    const auto loads = all.subspan(begin, task.shape.num_experts);
    if (std::ranges::all_of(loads, [](std::int64_t load) { return load == 0; })) continue;
    sum += measure(loads);
    ++count;
  }
  return count == 0 ? 1 : sum / static_cast<double>(count);
}

class LayerPlanner {
 public:
  explicit LayerPlanner(const LayerTask& task)
      : task_(task),
        deepseek_(deepseek_placement(task.loads, task.shape, task.num_groups)),
        deepseek_balance_(balance_of(deepseek_, {})) {}

  PlannedLayer plan() {
    Slots slots = task_.method == Method::deepseek ? deepseek_ : search();
    if (!task_.previous.empty()) {
      slots = keep_slots(task_.previous, slots, task_.shape.slots_per_rank);
    }
    return describe(std::move(slots));
  }

 private:
  /// By the objective and the rule by which replicas are chosen.
  double balance_of(const Slots& slots, const Slots& weights) const {
    return mean_over_loads(task_, [&](std::span<const std::int64_t> loads) {
      return balance_on(loads, slots, weights);
    });
  }

  double balance_on(std::span<const std::int64_t> loads, const Slots& slots,
                    const Slots& weights) const {
    if (weights.empty() && task_.choice == ReplicaChoice::quota) {
      return balance(loads, slots, task_.shape.num_ranks);
    }
    return balance_of_choice(loads, slots, weights, task_.shape, task_.choice);
  }

  double bound() const {
    return mean_over_loads(task_, [&](std::span<const std::int64_t> loads) {
      const LowerBound bound = lower_bound(loads, task_.shape);
      // What fits beside a replica is known only where replicas share evenly.
      const bool even = task_.split == Split::even && task_.choice == ReplicaChoice::quota;
      return even ? bound.balance() : std::max(1.0, bound.replicas);
    });
  }

  Choices choices() const { return {task_.choices, task_.home, task_.top_k}; }

  Slots search() {
    if (!task_.previous.empty()) return few_changes();
    Slots best = task_.objective == Objective::total ? by_total(task_.seed) : by_scenarios();
    // Never above DeepSeek: other seeds, then its own placement.
    constexpr std::uint64_t kTries = 3;
    for (std::uint64_t seed = 1; above_deepseek(best) && seed <= kTries; ++seed) {
      Slots other = by_total(task_.seed + seed);
      if (balance_of(other, {}) < balance_of(best, {})) best = std::move(other);
    }
    return above_deepseek(best) ? deepseek_ : best;
  }

  bool above_deepseek(const Slots& slots) const {
    return balance_of(slots, {}) > deepseek_balance_ * (1 + kRounding);
  }

  Slots by_total(std::uint64_t seed) const {
    Random random(seed, static_cast<std::uint64_t>(task_.layer));
    const LowerBound bound = lower_bound(task_.loads, task_.shape);
    Slots slots = solve_layer(task_.loads, task_.shape, bound, {}, random);
    if (task_.shape.num_nodes == 1 || task_.objective != Objective::total) return slots;
    // Room for less traffic, but not so much that DeepSeek's placement would be better balanced.
    const double room = deepseek_balance_ / balance(task_.loads, slots, task_.shape.num_ranks) - 1;
    const TrafficOptions options{.seed = random.next(),
                                 .choice = task_.choice,
                                 .tolerance = std::clamp(room, 0.0, task_.traffic_tolerance)};
    return plan_traffic(task_.loads, choices(), slots, task_.shape, options);
  }

  Slots by_scenarios() const {
    ScenarioOptions options{.seed = task_.seed + static_cast<std::uint64_t>(task_.layer)};
    options.previous = task_.previous;
    options.max_moved = task_.most_changed;
    const Scenarios scenarios = make_scenarios(task_.scenarios, task_.shape.num_experts);
    const bool noisy = task_.objective == Objective::windows;
    return plan_scenarios(noisy ? denoise(scenarios) : scenarios, task_.shape, options);
  }

  Slots few_changes() const {
    if (task_.objective != Objective::total) return by_scenarios();
    return rebalance(task_.previous, task_.loads, task_.shape,
                     {.target = 1.0, .most_changed = task_.most_changed});
  }

  PlannedLayer describe(Slots slots) const {
    PlannedLayer planned;
    planned.placement.layer = planned.facts.layer = task_.layer;
    if (task_.split == Split::by_weights) choose_weights(slots, planned.placement);
    const Slots& weights = planned.placement.slot_weights;
    planned.facts.balance_before = mean_over_loads(
        task_, [&](auto loads) { return balance_in_order(loads, task_.shape.num_ranks); });
    planned.facts.balance = balance_of(slots, weights);
    planned.facts.deepseek = deepseek_balance_;
    planned.facts.lower_bound = bound();
    planned.facts.gap = planned.facts.balance / planned.facts.lower_bound - 1;
    planned.total_balance = balance_on(task_.loads, slots, weights);
    for (const std::int32_t count : count_replicas(slots, task_.shape.num_experts)) {
      planned.most_replicas = std::max(planned.most_replicas, count);
      planned.num_replicated += count > 1;
    }
    if (!task_.previous.empty()) planned.num_changed = count_changed(task_.previous, slots);
    if (!task_.choices.empty() && task_.shape.num_nodes > 1) {
      planned.remote_nodes =
          remote_nodes_per_token(choices(), slots, weights, task_.shape, task_.choice);
      planned.deepseek_remote_nodes =
          remote_nodes_per_token(choices(), deepseek_, {}, task_.shape, task_.choice);
    }
    planned.placement.expert_of_slot = std::move(slots);
    return planned;
  }

  /// Weights, unless even shares are as good.
  void choose_weights(const Slots& slots, LayerPlacement& placement) const {
    Slots weights = split_weights(task_.loads, slots, task_.shape);
    if (balance_of(slots, weights) < balance_of(slots, {})) {
      placement.slot_weights = std::move(weights);
    }
  }

  const LayerTask& task_;
  Slots deepseek_;
  double deepseek_balance_;
};

}  // namespace

PlannedLayer plan_layer(const LayerTask& task) { return LayerPlanner(task).plan(); }

double balance_in_order(std::span<const std::int64_t> loads, std::int32_t num_ranks) {
  std::vector<double> rank_loads(num_ranks, 0.0);
  double total = 0;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    rank_loads[expert * num_ranks / loads.size()] += static_cast<double>(loads[expert]);
    total += static_cast<double>(loads[expert]);
  }
  return total <= 0 ? 1 : *std::ranges::max_element(rank_loads) * num_ranks / total;
}

}  // namespace trireme::eplb
