#pragma once

#include <cstdint>
#include <vector>

#include "eplb/scenario.h"
#include "eplb/scenario_state.h"

namespace trireme::eplb {

/// Improves a placement by annealing on its cost: exchanges of two slots and, less often, a slot
/// given to another expert; half of the proposals start from the most loaded rank of a scenario.
/// With options.previous no more than options.max_moved slots change.
///   returns  [slots] the best placement met
std::vector<std::int32_t> search_scenarios(ScenarioState state, const Shape& shape,
                                           const ScenarioOptions& options);

}  // namespace trireme::eplb
