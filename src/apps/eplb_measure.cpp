#include "apps/eplb_measure.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "eplb/planner.h"
#include "eplb/replica_share.h"
#include "eplb/scenario.h"
#include "eplb/traffic.h"

namespace trireme::apps {
namespace {

using Counts = std::vector<std::int64_t>;
using Slots = std::vector<std::int32_t>;

/// The slots of a layer with the rule that chooses among them.
struct LayerSlots {
  Slots experts, weights;
  eplb::Shape shape;
  eplb::ReplicaChoice choice = eplb::ReplicaChoice::quota;
};

/// Each expert once, rank r with experts [r · E / G, (r + 1) · E / G); where that does not come out
/// even, the last slot of some ranks is empty.
LayerSlots plain_slots(std::int64_t num_experts, std::int64_t ep_size, std::int64_t num_nodes) {
  LayerSlots slots;
  const std::int64_t slots_each = (num_experts + ep_size - 1) / ep_size;
  slots.shape = {.num_experts = static_cast<std::int32_t>(num_experts),
                 .num_ranks = static_cast<std::int32_t>(ep_size),
                 .slots_per_rank = static_cast<std::int32_t>(slots_each),
                 .num_nodes = static_cast<std::int32_t>(num_nodes)};
  for (std::int64_t rank = 0; rank < ep_size; ++rank) {
    const std::int64_t begin = rank * num_experts / ep_size;
    const std::int64_t end = (rank + 1) * num_experts / ep_size;
    for (std::int64_t i = 0; i < slots_each; ++i) {
      slots.experts.push_back(begin + i < end ? static_cast<std::int32_t>(begin + i) : -1);
    }
  }
  return slots;
}

LayerSlots placed_slots(const eplb::Placement& placement, std::size_t layer,
                        std::int64_t num_experts) {
  return {
      placement.layers[layer].expert_of_slot, placement.layers[layer].slot_weights,
      eplb::make_shape(num_experts, placement.num_slots, placement.ep_size, placement.num_nodes),
      placement.replica_choice};
}

/// The counts of one layer in each part, [parts][experts].
std::vector<Counts> layer_of_parts(const Counts& counts, std::int64_t num_layers,
                                   std::int64_t num_experts, std::size_t layer) {
  const auto row = static_cast<std::size_t>(num_experts);
  const std::size_t part = row * static_cast<std::size_t>(num_layers);
  std::vector<Counts> parts;
  for (std::size_t begin = layer * row; begin < counts.size(); begin += part) {
    const auto first = counts.begin() + static_cast<std::ptrdiff_t>(begin);
    parts.emplace_back(first, first + num_experts);
  }
  return parts;
}

double balance_of(const Counts& counts, const LayerSlots& slots) {
  return eplb::balance_of_choice(counts, slots.experts, slots.weights, slots.shape, slots.choice);
}

/// Averaged over the parts in which there is any load.
double balance_of_parts(const std::vector<Counts>& parts, const LayerSlots& slots) {
  double sum = 0;
  int num_parts = 0;
  for (const Counts& counts : parts) {
    if (std::ranges::all_of(counts, [](std::int64_t count) { return count == 0; })) continue;
    sum += balance_of(counts, slots);
    ++num_parts;
  }
  return num_parts == 0 ? 1 : sum / num_parts;
}

std::vector<double> heat_of(const Counts& counts) {
  const auto sum = static_cast<double>(std::accumulate(counts.begin(), counts.end(), 0LL));
  std::vector<double> heat;
  for (const std::int64_t count : counts) {
    heat.push_back(sum == 0 ? 0 : static_cast<double>(count * std::ssize(counts)) / sum);
  }
  return heat;
}

double remote_nodes(const io::ExpertLoads& loads, std::size_t layer,
                    const std::vector<std::int32_t>& homes, const LayerSlots& slots) {
  const eplb::Choices choices{loads.choices[layer], homes, loads.top_k};
  return eplb::remote_nodes_per_token(choices, slots.experts, slots.weights, slots.shape,
                                      slots.choice);
}

}  // namespace

LoadsMeasure measure(const io::ExpertLoads& loads, const eplb::Placement* placement,
                     std::int64_t ep_size, std::int64_t num_nodes) {
  LoadsMeasure measure{.ep_size = placement != nullptr ? placement->ep_size : ep_size,
                       .num_nodes = placement != nullptr ? placement->num_nodes : num_nodes,
                       .has_placement = placement != nullptr,
                       .parts = loads.domains.size() > 1  ? "domain"
                                : loads.num_windows() > 1 ? "window"
                                                          : ""};
  measure.has_traffic = measure.ep_size > 0 && measure.num_nodes > 1 && !loads.choices_home.empty();
  const std::vector<std::int32_t> homes = measure.has_traffic
                                              ? eplb::homes_for(loads.choices_home, measure.ep_size)
                                              : std::vector<std::int32_t>();
  const Counts total = io::total_counts(loads);
  const Counts& part_counts = measure.parts == "domain" ? loads.by_domain : loads.counts;
  for (std::size_t i = 0; i < loads.layer_index.size(); ++i) {
    const Counts counts = layer_of_parts(total, loads.num_layers(), loads.num_experts, i).front();
    const auto parts = layer_of_parts(part_counts, loads.num_layers(), loads.num_experts, i);
    LayerMeasure layer;
    layer.layer = loads.layer_index[i];
    measure.heat.push_back(heat_of(counts));
    const auto hottest = std::ranges::max_element(measure.heat.back());
    layer.hottest = *hottest;
    layer.hottest_expert = static_cast<std::int32_t>(hottest - measure.heat.back().begin());
    if (measure.ep_size > 0) {
      const LayerSlots plain = plain_slots(loads.num_experts, measure.ep_size, measure.num_nodes);
      layer.before = balance_of(counts, plain);
      layer.parts_before = balance_of_parts(parts, plain);
      if (measure.has_traffic) layer.remote_before = remote_nodes(loads, i, homes, plain);
    }
    if (placement != nullptr) {
      const LayerSlots placed = placed_slots(*placement, i, loads.num_experts);
      layer.after = balance_of(counts, placed);
      layer.parts_after = balance_of_parts(parts, placed);
      if (measure.has_traffic) layer.remote_after = remote_nodes(loads, i, homes, placed);
    }
    measure.layers.push_back(layer);
  }
  return measure;
}

double mean_of(const LoadsMeasure& measure, double LayerMeasure::*member) {
  double sum = 0;
  for (const LayerMeasure& layer : measure.layers) sum += layer.*member;
  return measure.layers.empty() ? 0 : sum / static_cast<double>(measure.layers.size());
}

}  // namespace trireme::apps
