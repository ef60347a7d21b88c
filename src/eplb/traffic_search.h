#pragma once

#include <cstdint>

#include "eplb/traffic_state.h"
#include "eplb/traffic_tokens.h"

namespace trireme::eplb {

struct NodeSearchOptions {
  std::uint64_t seed = 0;
  std::int64_t num_steps = 0;
  bool afresh = true;  ///< false: stay near the state as it is
};

/// Lowers the traffic of a state by annealing without ever raising its overload: two nodes exchange
/// an expert, or a replica becomes one of another expert. Leaves the best state met that has the
/// least overload.
void search_nodes(NodeState& state, const TokenSet& tokens, const Shape& shape,
                  const NodeSearchOptions& options);

}  // namespace trireme::eplb
