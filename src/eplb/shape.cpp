#include "eplb/shape.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace trireme::eplb {

namespace {

constexpr std::int64_t kMostSlots = std::numeric_limits<std::int16_t>::max();

void check_range(const char* name, std::int64_t value) {
  if (value < 1 || value > kMostSlots) {
    fail(ErrorKind::config, cat(name, " is ", value, ", expected 1 to ", kMostSlots));
  }
}

}  // namespace

Shape make_shape(std::int64_t num_experts, std::int64_t num_slots, std::int64_t ep_size,
                 std::int64_t num_nodes) {
  check_range("the number of experts", num_experts);
  check_range("--num-slots", num_slots);
  check_range("--ep-size", ep_size);
  check_range("--nodes", num_nodes);
  if (num_slots < num_experts) {
    fail(ErrorKind::config, cat("--num-slots ", num_slots, " is below the number of experts, ",
                                num_experts, ": every expert needs a slot"));
  }
  if (num_slots % ep_size != 0) {
    fail(ErrorKind::config, cat("--num-slots ", num_slots, " is not divisible by --ep-size ",
                                ep_size, ": every rank has as many slots"));
  }
  if (ep_size % num_nodes != 0) {
    fail(ErrorKind::config, cat("--ep-size ", ep_size, " is not divisible by --nodes ", num_nodes,
                                ": every node has as many ranks"));
  }
  return {.num_experts = static_cast<std::int32_t>(num_experts),
          .num_ranks = static_cast<std::int32_t>(ep_size),
          .slots_per_rank = static_cast<std::int32_t>(num_slots / ep_size),
          .num_nodes = static_cast<std::int32_t>(num_nodes)};
}

std::vector<std::int32_t> count_replicas(std::span<const std::int32_t> expert_of_slot,
                                         std::int32_t num_experts) {
  std::vector<std::int32_t> replicas(num_experts, 0);
  for (const std::int32_t expert : expert_of_slot) {
    if (expert >= 0) ++replicas.at(expert);
  }
  return replicas;
}

double balance(std::span<const std::int64_t> loads, std::span<const std::int32_t> expert_of_slot,
               std::int32_t num_ranks) {
  const auto replicas = count_replicas(expert_of_slot, static_cast<std::int32_t>(loads.size()));
  const std::size_t slots_per_rank = expert_of_slot.size() / num_ranks;
  std::vector<double> rank_loads(num_ranks, 0.0);
  for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot) {
    const std::int32_t expert = expert_of_slot[slot];
    if (expert < 0) continue;
    rank_loads[slot / slots_per_rank] += static_cast<double>(loads[expert]) / replicas[expert];
  }
  double total = 0;
  for (const std::int64_t load : loads) total += static_cast<double>(load);
  if (total <= 0) return 1;
  return *std::max_element(rank_loads.begin(), rank_loads.end()) * num_ranks / total;
}

}  // namespace trireme::eplb
