#include "eplb/scenario.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "eplb/scenario_search.h"
#include "eplb/scenario_start.h"
#include "eplb/scenario_state.h"

namespace trireme::eplb {

namespace {

// No run counts as much; files may claim it.
constexpr std::int64_t kMostCount = std::numeric_limits<std::int64_t>::max();

/// Neighbours added up, so that at most kMostScenarios rows are left.
std::vector<std::int64_t> merge_rows(std::span<const std::int64_t> counts,
                                     std::int64_t num_experts) {
  const std::int64_t rows = static_cast<std::int64_t>(counts.size()) / num_experts;
  const std::int64_t merged = std::min(rows, kMostScenarios);
  std::vector<std::int64_t> sums(merged * num_experts, 0);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t into = row * merged / rows;
    for (std::int64_t expert = 0; expert < num_experts; ++expert) {
      std::int64_t& sum = sums[into * num_experts + expert];
      sum += std::min(counts[row * num_experts + expert], kMostCount - sum);
    }
  }
  return sums;
}

/// The best of several greedy placements.
ScenarioState best_start(const Scenarios& scenarios, const Shape& shape) {
  constexpr double kDeviations[] = {0, 0.674, 1.5};
  constexpr int kHalfPowers[] = {1, 3};
  std::vector<std::int32_t> best;
  std::int64_t best_cost = 0;
  for (const double deviations : kDeviations) {
    const auto replicas = scenario_replicas(scenarios, shape, deviations);
    for (const int half_power : kHalfPowers) {
      auto placed = scenario_packing(scenarios, shape, replicas, half_power);
      const auto cost = ScenarioState(scenarios, shape, placed).cost();
      if (best.empty() || cost < best_cost) {
        best = std::move(placed);
        best_cost = cost;
      }
    }
  }
  return {scenarios, shape, std::move(best)};
}

/// The same experts on every rank, those that were there before in their old slots.
std::vector<std::int32_t> keep_slots(std::span<const std::int32_t> previous,
                                     std::vector<std::int32_t> planned,
                                     std::int32_t slots_per_rank) {
  std::vector<std::int32_t> kept(planned.size(), -1);
  for (std::size_t begin = 0; begin < planned.size(); begin += slots_per_rank) {
    std::vector<std::int32_t> here(planned.begin() + begin,
                                   planned.begin() + begin + slots_per_rank);
    for (std::size_t slot = begin; slot < begin + slots_per_rank; ++slot) {
      const auto stays = std::ranges::find(here, previous[slot]);
      if (stays == here.end()) continue;
      kept[slot] = *stays;
      here.erase(stays);
    }
    for (std::size_t slot = begin; slot < begin + slots_per_rank; ++slot) {
      if (kept[slot] >= 0) continue;
      kept[slot] = here.front();
      here.erase(here.begin());
    }
  }
  return kept;
}

}  // namespace

Scenarios make_scenarios(std::span<const std::int64_t> counts, std::int64_t num_experts) {
  TRIREME_CHECK(num_experts > 0 && counts.size() % num_experts == 0, counts.size(), " counts of ",
                num_experts, " experts");
  const auto merged = merge_rows(counts, num_experts);
  Scenarios scenarios{.num_experts = num_experts};
  for (std::size_t begin = 0; begin < merged.size(); begin += num_experts) {
    const std::span row = std::span(merged).subspan(begin, num_experts);
    const double total = std::accumulate(row.begin(), row.end(), 0.0);
    if (total <= 0) continue;
    const double scale = kScenarioLoad / total;
    for (const std::int64_t count : row) {
      scenarios.loads.push_back(
          static_cast<std::int32_t>(static_cast<double>(count) * scale + 0.5));
    }
    ++scenarios.num_scenarios;
  }
  return scenarios;
}

std::vector<std::int32_t> plan_scenarios(const Scenarios& scenarios, const Shape& shape,
                                         const ScenarioOptions& options) {
  TRIREME_CHECK(scenarios.num_scenarios > 0 && scenarios.num_experts == shape.num_experts,
                scenarios.num_scenarios, " scenarios of ", scenarios.num_experts, " experts, not ",
                shape.num_experts);
  if (options.previous.empty()) {
    return search_scenarios(best_start(scenarios, shape), shape, options);
  }
  TRIREME_CHECK(std::ssize(options.previous) == shape.num_slots(), options.previous.size(),
                " previous slots, not ", shape.num_slots());
  ScenarioState state(scenarios, shape, {options.previous.begin(), options.previous.end()});
  return keep_slots(options.previous, search_scenarios(std::move(state), shape, options),
                    shape.slots_per_rank);
}

double scenario_balance(std::span<const std::int64_t> counts, std::int64_t num_experts,
                        std::span<const std::int32_t> expert_of_slot, std::int32_t num_ranks) {
  double sum = 0;
  std::int64_t num_scenarios = 0;
  for (std::size_t begin = 0; begin < counts.size(); begin += num_experts) {
    const auto row = counts.subspan(begin, num_experts);
    if (std::ranges::all_of(row, [](std::int64_t count) { return count == 0; })) continue;
    sum += balance(row, expert_of_slot, num_ranks);
    ++num_scenarios;
  }
  return num_scenarios > 0 ? sum / static_cast<double>(num_scenarios) : 1;
}

}  // namespace trireme::eplb
