#pragma once

#include <cstdint>

#include "eplb/layer_state.h"

namespace trireme::eplb {

/// Exchanges slots of the heaviest rank with lighter ones, each time the exchange that leaves the
/// heavier of the two ranks lightest, while the heaviest rank falls and is above `goal`.
void descend_by_swaps(LayerState& state, std::int64_t goal);

/// Shares the experts of the heaviest rank and another anew, as evenly as any split of their slots
/// can, with each of the lightest ranks in turn. Up to 10 slots a rank; does nothing beyond.
/// Returns whether the heavier of the two fell.
bool repartition_heaviest(LayerState& state);

/// One more replica for an expert of the heaviest rank in the place of one of another expert: tries
/// the most promising such moves, each followed by swaps, and keeps the best.
/// Returns whether the heaviest rank fell.
bool move_replica(LayerState& state, std::int64_t goal);

/// All three by turns until none helps or the heaviest rank is at most `goal`; replicas are moved
/// only while it is above `enough`.
void descend(LayerState& state, std::int64_t goal, std::int64_t enough);

}  // namespace trireme::eplb
