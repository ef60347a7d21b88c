#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "eplb/placement.h"
#include "eplb/plan_layer.h"
#include "io/expert_loads.h"

namespace trireme::eplb {

struct PlanOptions {
  std::int64_t num_slots = 0;
  std::int64_t ep_size = 0;
  std::int64_t num_nodes = 1;
  Method method = Method::trireme;
  /// None: with several nodes and choices the total; else domains if there are several, else
  /// windows if there are several, else the total. With a total and several nodes tokens are also
  /// kept on few nodes, if the loads hold choices; without them only the load of nodes is looked
  /// at.
  std::optional<Objective> objective;
  Split split = Split::even;
  ReplicaChoice replica_choice = ReplicaChoice::quota;
  std::int64_t num_groups = 0;  ///< of experts, for DeepSeek's hierarchical placement; 0: the nodes
  double traffic_tolerance = 0.01;
  std::uint64_t seed = 0;
  std::int32_t threads = 1;

  const Placement* previous = nullptr;  ///< to change little of
  double max_moved = 0.15;              ///< share of the slots of a layer that may change then

  /// Called now and then, by one thread at a time, with the layers that are done.
  std::function<void(std::int64_t num_done, std::int64_t num_layers)> progress;
};

struct Plan {
  Placement placement;
  Objective objective = Objective::total;
  std::vector<PlannedLayer> layers;  ///< with placements equal to those of `placement`
};

/// Where the experts of every layer should live, from how often they were chosen. The result is the
/// same on every machine and with any number of threads.
/// Throws Error(input) for loads that contradict themselves, Error(config) for slots that do not
/// fit them, or a previous placement of another shape.
Plan plan(const io::ExpertLoads& loads, const PlanOptions& options);

/// Homes of tokens on as many ranks as are planned for, in place of those that recorded them.
std::vector<std::int32_t> homes_for(const std::vector<std::int32_t>& recorded,
                                    std::int64_t num_ranks);

/// "total", "windows", "domains".
const char* name_of(Objective objective);

}  // namespace trireme::eplb
