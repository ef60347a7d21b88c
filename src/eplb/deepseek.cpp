#include "eplb/deepseek.h"

#include <algorithm>
#include <numeric>
#include <queue>

#include "base/error.h"
#include "eplb/fixed_point.h"

namespace trireme::eplb {

namespace {

/// Adds to `expert_of_slot` the slots of one node, whose experts have these ids and loads.
void place_on_node(std::span<const std::int32_t> ids, std::span<const std::int64_t> loads,
                   const Shape& shape, std::vector<std::int32_t>& expert_of_slot) {
  const std::int32_t num_slots = shape.ranks_per_node() * shape.slots_per_rank;
  const auto replicas = replicate_experts(loads, num_slots);
  const auto count = count_replicas(replicas, static_cast<std::int32_t>(ids.size()));
  std::vector<std::int64_t> weights;
  for (const std::int32_t expert : replicas) weights.push_back(loads[expert] / count[expert]);
  const Packing packing = balanced_packing(weights, shape.ranks_per_node());

  const std::size_t begin = expert_of_slot.size();
  expert_of_slot.resize(begin + num_slots);
  for (std::int32_t replica = 0; replica < num_slots; ++replica) {
    const std::int32_t slot = packing.pack[replica] * shape.slots_per_rank + packing.place[replica];
    expert_of_slot[begin + slot] = ids[replicas[replica]];
  }
}

}  // namespace

Packing balanced_packing(std::span<const std::int64_t> weights, std::int32_t num_packs) {
  const auto num_items = static_cast<std::int32_t>(weights.size());
  TRIREME_CHECK(num_packs > 0 && num_items % num_packs == 0, num_items, " items, ", num_packs,
                " packs");
  const std::int32_t room = num_items / num_packs;
  Packing packing{std::vector<std::int32_t>(num_items), std::vector<std::int32_t>(num_items, 0)};
  std::vector<std::int32_t> order(num_items);
  std::iota(order.begin(), order.end(), 0);
  if (room == 1) {
    packing.pack = order;
    return packing;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return weights[a] > weights[b]; });
  std::vector<std::int64_t> pack_weights(num_packs, 0);
  std::vector<std::int32_t> pack_items(num_packs, 0);
  for (const std::int32_t item : order) {
    std::int32_t lightest = -1;
    for (std::int32_t pack = 0; pack < num_packs; ++pack) {
      if (pack_items[pack] == room) continue;
      if (lightest < 0 || pack_weights[pack] < pack_weights[lightest]) lightest = pack;
    }
    packing.pack[item] = lightest;
    packing.place[item] = pack_items[lightest]++;
    pack_weights[lightest] += weights[item];
  }
  return packing;
}

std::vector<std::int32_t> replicate_experts(std::span<const std::int64_t> loads,
                                            std::int32_t num_replicas) {
  const auto num_experts = static_cast<std::int32_t>(loads.size());
  TRIREME_CHECK(num_experts > 0 && num_experts <= num_replicas, num_experts, " experts, ",
                num_replicas, " replicas");
  std::vector<std::int32_t> experts(num_experts);
  std::iota(experts.begin(), experts.end(), 0);
  if (std::ranges::all_of(loads, [](std::int64_t load) { return load == 0; })) {
    for (std::int32_t replica = num_experts; replica < num_replicas; ++replica) {
      experts.push_back(replica % num_experts);
    }
    return experts;
  }
  std::vector<std::int64_t> count(num_experts, 1);
  // Products of a load and a count instead of quotients: below 2^46 · 2^15.
  const auto lighter = [&](std::int32_t a, std::int32_t b) {
    const std::int64_t left = loads[a] * count[b], right = loads[b] * count[a];
    return left != right ? left < right : a > b;
  };
  std::priority_queue<std::int32_t, std::vector<std::int32_t>, decltype(lighter)> heaviest(lighter,
                                                                                           experts);
  while (static_cast<std::int32_t>(experts.size()) < num_replicas) {
    const std::int32_t expert = heaviest.top();
    heaviest.pop();
    experts.push_back(expert);
    ++count[expert];
    heaviest.push(expert);
  }
  return experts;
}

std::vector<std::int32_t> deepseek_placement(std::span<const std::int64_t> loads,
                                             const Shape& shape, std::int32_t num_groups) {
  const auto num_experts = static_cast<std::int32_t>(loads.size());
  TRIREME_CHECK(num_groups > 0 && num_experts % num_groups == 0, num_experts, " experts, ",
                num_groups, " groups");
  Shape nodes = shape;
  if (num_groups % shape.num_nodes != 0) num_groups = nodes.num_nodes = 1;
  const auto fixed = to_fixed_point(loads);

  const std::int32_t group_size = num_experts / num_groups;
  std::vector<std::int64_t> group_loads(num_groups, 0);
  for (std::int32_t e = 0; e < num_experts; ++e) group_loads[e / group_size] += fixed[e];
  const Packing packing = balanced_packing(group_loads, nodes.num_nodes);

  const std::int32_t node_groups = num_groups / nodes.num_nodes;
  std::vector<std::int32_t> ids(num_experts);  // experts in the order of nodes
  std::vector<std::int64_t> ordered(num_experts);
  for (std::int32_t e = 0; e < num_experts; ++e) {
    const std::int32_t group = e / group_size;
    const std::int32_t at =
        (packing.pack[group] * node_groups + packing.place[group]) * group_size + e % group_size;
    ids[at] = e;
    ordered[at] = fixed[e];
  }
  std::vector<std::int32_t> expert_of_slot;
  const std::int32_t node_experts = num_experts / nodes.num_nodes;
  for (std::int32_t node = 0; node < nodes.num_nodes; ++node) {
    place_on_node(std::span(ids).subspan(node * node_experts, node_experts),
                  std::span<const std::int64_t>(ordered).subspan(node * node_experts, node_experts),
                  nodes, expert_of_slot);
  }
  return expert_of_slot;
}

}  // namespace trireme::eplb
