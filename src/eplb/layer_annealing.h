#pragma once

#include <cstdint>

#include "eplb/layer_state.h"
#include "eplb/random.h"

namespace trireme::eplb {

/// How one round of annealing goes.
struct AnnealingRound {
  std::int64_t target = 0;  ///< what ranks shall have at most
  std::int64_t steps = 50'000;
  std::int32_t start_bits = 7;  ///< first temperature: kMeanLoad² / 2^start_bits
  std::int32_t octaves = 15;    ///< how often the temperature halves
};

/// Exchanges slots and gives slots to other experts at random, accepting by Metropolis' rule for
/// the sum of squares of what ranks have above the target; half of the proposals start from such a
/// rank. Stops as soon as no rank is above the target and says so. Loads of to_mean_units().
bool anneal(LayerState& state, const AnnealingRound& round, Random& random);

}  // namespace trireme::eplb
