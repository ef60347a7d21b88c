#include <algorithm>

#include "base/error.h"
#include "eplb/placement_file.h"

namespace trireme::eplb {
namespace {

constexpr std::size_t kMaxFaults = 20;

std::string and_more(std::int64_t count) {
  return count > 1 ? cat(" (and ", count - 1, " more in this layer)") : "";
}

void check_sizes(const Placement& placement, const PlacementUse& use,
                 std::vector<std::string>& faults) {
  if (placement.num_slots < use.num_experts) {
    faults.push_back(cat("num_slots is ", placement.num_slots, ", expected at least ",
                         use.num_experts, ", the number of experts"));
  }
  if (use.ep_size > 0 && placement.num_slots % use.ep_size != 0) {
    faults.push_back(cat("num_slots is ", placement.num_slots, ", expected a multiple of ",
                         use.ep_size, ", the expert parallel size"));
  }
  if (use.ep_size > 0 && placement.ep_size > 0 && placement.ep_size != use.ep_size) {
    faults.push_back(cat("ep_size is ", placement.ep_size, ", expected ", use.ep_size,
                         ", the expert parallel size; plan for this size, or run with the other"));
  }
  const bool both_hashes = !placement.model_hash.empty() && !use.model_hash.empty();
  if (both_hashes && placement.model_hash != use.model_hash) {
    faults.push_back(cat("model_hash is ", placement.model_hash, ", expected ", use.model_hash,
                         ": it was planned for another model"));
  }
}

void check_layer_numbers(const Placement& placement, const PlacementUse& use,
                         std::vector<std::string>& faults) {
  const auto number_of = [](const LayerPlacement& layer) { return layer.layer; };
  for (const std::int32_t layer : use.layers) {
    if (std::ranges::find(placement.layers, layer, number_of) == placement.layers.end()) {
      faults.push_back(cat("layer ", layer, " is not there, the model has experts in it"));
    }
  }
  for (const LayerPlacement& layer : placement.layers) {
    if (std::ranges::find(use.layers, layer.layer) == use.layers.end()) {
      faults.push_back(cat("layer ", layer.layer, " is there, the model has no experts in it"));
    }
  }
}

void check_experts(const LayerPlacement& layer, std::int64_t num_experts,
                   std::vector<std::string>& faults) {
  std::vector<bool> has_slot(static_cast<std::size_t>(num_experts), false);
  std::int64_t num_outside = 0;
  std::size_t first_outside = 0;
  for (std::size_t slot = 0; slot < layer.expert_of_slot.size(); ++slot) {
    const std::int32_t expert = layer.expert_of_slot[slot];
    if (expert >= 0 && expert < num_experts) {
      has_slot[static_cast<std::size_t>(expert)] = true;
    } else if (num_outside++ == 0) {
      first_outside = slot;
    }
  }
  if (num_outside > 0) {
    faults.push_back(cat("layer ", layer.layer, " slot ", first_outside, " holds expert ",
                         layer.expert_of_slot[first_outside], ", expected 0 to ", num_experts - 1,
                         and_more(num_outside)));
  }
  const auto missing = std::ranges::count(has_slot, false);
  if (missing == 0) return;
  const auto first = std::ranges::find(has_slot, false) - has_slot.begin();
  faults.push_back(cat("layer ", layer.layer, " has no slot for expert ", first, and_more(missing),
                       ", expected one at least"));
}

void check_layer(const LayerPlacement& layer, const Placement& placement, const PlacementUse& use,
                 std::vector<std::string>& faults) {
  if (std::ssize(layer.expert_of_slot) != placement.num_slots) {
    faults.push_back(cat("layer ", layer.layer, " has ", layer.expert_of_slot.size(),
                         " slots, expected num_slots, which is ", placement.num_slots));
  }
  check_experts(layer, use.num_experts, faults);
  if (layer.slot_weights.empty()) return;
  if (layer.slot_weights.size() != layer.expert_of_slot.size()) {
    faults.push_back(cat("layer ", layer.layer, " has ", layer.slot_weights.size(),
                         " slot_weights, expected one for each of its ",
                         layer.expert_of_slot.size(), " slots"));
  }
  const auto bad = std::ranges::find_if(layer.slot_weights, [](auto weight) { return weight < 1; });
  if (bad == layer.slot_weights.end()) return;
  faults.push_back(cat("layer ", layer.layer, " slot ", bad - layer.slot_weights.begin(),
                       " has the weight ", *bad, ", expected 1 or more"));
}

}  // namespace

void fill_assignments(Placement& placement, std::span<const std::int32_t> layers,
                      std::int64_t num_experts) {
  if (!placement.layers.empty()) return;
  for (const std::int32_t layer : layers) {
    LayerPlacement placed{layer, {}, {}};
    for (std::int64_t slot = 0; slot < placement.num_slots; ++slot) {
      placed.expert_of_slot.push_back(static_cast<std::int32_t>(slot % num_experts));
    }
    placement.layers.push_back(std::move(placed));
  }
}

std::vector<std::string> check_placement(const Placement& placement, const PlacementUse& use) {
  std::vector<std::string> faults;
  check_sizes(placement, use, faults);
  check_layer_numbers(placement, use, faults);
  for (const LayerPlacement& layer : placement.layers) check_layer(layer, placement, use, faults);
  return faults;
}

void require_fit(const Placement& placement, const PlacementUse& use, const std::string& path) {
  const std::vector<std::string> faults = check_placement(placement, use);
  if (faults.empty()) return;
  std::string text = cat(path, ": ", faults.front());
  for (std::size_t i = 1; i < std::min(faults.size(), kMaxFaults); ++i) text += "; " + faults[i];
  if (faults.size() > kMaxFaults) text += cat("; and ", faults.size() - kMaxFaults, " more");
  fail(ErrorKind::config, text);
}

}  // namespace trireme::eplb
