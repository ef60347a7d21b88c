#include "eplb/layer_solver.h"

#include <utility>

#include "eplb/fixed_point.h"
#include "eplb/layer_annealing.h"
#include "eplb/layer_descent.h"
#include "eplb/layer_start.h"
#include "eplb/layer_state.h"

namespace trireme::eplb {

namespace {

std::int64_t mean_units(double balance) {
  return static_cast<std::int64_t>(balance * static_cast<double>(kMeanLoad));
}

/// Few slots a rank leave steep walls between placements: they need a hotter start.
AnnealingRound first_round(const Shape& shape, const LayerSearch& search, std::int64_t target) {
  AnnealingRound round{.target = target, .steps = search.round_steps};
  if (shape.slots_per_rank <= 2) {
    round.start_bits = 1;
    round.octaves = 21;
  }
  return round;
}

/// Anneals towards targets between what is known to be possible and the lower bound.
void anneal_layer(LayerState& best, std::int64_t bound, std::int64_t enough,
                  const LayerSearch& search, Random& random) {
  AnnealingRound round = first_round(best.shape(), search, enough);
  std::int64_t low = bound;
  for (std::int32_t number = 0; number < search.rounds && best.max_load() > enough; ++number) {
    LayerState state = best;
    const bool reached = anneal(state, round, random);
    descend_by_swaps(state, bound);
    if (!reached) low = round.target;
    if (state.max_load() < best.max_load()) best = std::move(state);
    round.target = std::max(enough, low + (best.max_load() - low) / 2);
  }
}

}  // namespace

std::vector<std::int32_t> solve_layer(std::span<const std::int64_t> loads, const Shape& shape,
                                      const LowerBound& bound, const LayerSearch& search,
                                      Random& random) {
  const auto units = to_mean_units(loads, shape.num_ranks);
  if (shape.slots_per_rank >= shape.num_experts) return full_placement(units, shape);
  LayerState state(units, shape, start_placement(units, shape));
  const std::int64_t least = mean_units(bound.balance());
  const std::int64_t enough = mean_units(bound.balance() * search.close_enough);
  descend(state, least + (enough - least) / 8, enough);
  if (state.max_load() > enough) anneal_layer(state, least, enough, search, random);
  return state.expert_of_slot();
}

}  // namespace trireme::eplb
