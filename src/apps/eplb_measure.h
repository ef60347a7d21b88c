#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eplb/placement.h"
#include "eplb/shape.h"
#include "io/expert_loads.h"

namespace trireme::apps {

/// What loads say of one layer. Balance is the highest load of a rank over the mean of all ranks;
/// "before" is with each expert in one slot, in the order of their numbers.
struct LayerMeasure {
  std::int32_t layer = 0;
  std::int32_t hottest_expert = 0;
  double hottest = 1;  ///< load of the hottest expert over the mean of all
  double before = 1, after = 1;
  double parts_before = 1, parts_after = 1;    ///< averaged over domains or windows
  double remote_before = 0, remote_after = 0;  ///< remote nodes per token
};

/// A model's experts on ranks, before and after a placement.
struct LoadsMeasure {
  std::int64_t ep_size = 0;  ///< 0: no balance is known
  std::int64_t num_nodes = 1;
  bool has_placement = false;  ///< whether there is an "after"
  std::string parts;           ///< "domain" or "window" if there are at least two; else empty
  bool has_traffic = false;    ///< whether remote nodes are known
  std::vector<LayerMeasure> layers = {};
  std::vector<std::vector<double>> heat = {};  ///< [layers][experts] load over the layer's mean
};

/// `placement` may be null; then `ep_size` (0: unknown) and `num_nodes` say how ranks lie. The
/// placement fits the loads and has an ep_size.
LoadsMeasure measure(const io::ExpertLoads& loads, const eplb::Placement* placement,
                     std::int64_t ep_size, std::int64_t num_nodes);

/// The average of a member over all layers.
double mean_of(const LoadsMeasure& measure, double LayerMeasure::*member);

}  // namespace trireme::apps
