#include <algorithm>
#include <cstdio>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "eplb/placement_file_formats.h"
#include "io/utf8.h"

namespace trireme::eplb {
namespace {

std::string quoted(const std::string& text) {
  std::string safe = io::with_valid_utf8(text);
  std::ranges::replace(safe, '\x7f', '?');  // JSON leaves it, YAML does not take it
  return Json(safe).dump();
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6f", value);
  return text;
}

std::string facts_yaml(const PlacementFile& file) {
  const Placement& placement = file.placement;
  const PlacementFacts facts = file.facts.value_or(PlacementFacts{});
  std::ostringstream out;
  out << "schema: " << kPlacementSchema << "\nschema_version: 1.0.0\nep_size: " << placement.ep_size
      << "\nnum_nodes: " << placement.num_nodes << "\nreplica_choice: "
      << (placement.replica_choice == ReplicaChoice::home ? "home" : "quota")
      << "\nmodel: " << quoted(placement.model_name)
      << "\nmodel_hash: " << quoted(placement.model_hash) << "\nmethod: " << quoted(facts.method)
      << "\nobjective: " << quoted(facts.objective) << "\nseed: " << facts.seed
      << "\nloads_hash: " << quoted(facts.loads_hash)
      << "\nassignments_hash: " << quoted(assignments_hash(placement)) << "\n";
  if (!facts.layers.empty()) out << "layers:\n";
  for (const LayerFacts& layer : facts.layers) {
    out << "  " << layer.layer << ": {balance_before: " << number_text(layer.balance_before)
        << ", balance: " << number_text(layer.balance)
        << ", deepseek: " << number_text(layer.deepseek)
        << ", lower_bound: " << number_text(layer.lower_bound)
        << ", gap: " << number_text(layer.gap) << "}\n";
  }
  const auto has_weights = [](const LayerPlacement& layer) { return !layer.slot_weights.empty(); };
  if (std::ranges::any_of(placement.layers, has_weights)) out << "slot_weights:\n";
  for (const LayerPlacement& layer : placement.layers) {
    if (has_weights(layer))
      out << "  " << layer.layer << ": " << list_text(layer.slot_weights) << "\n";
  }
  return out.str();
}

/// The experts in the order of their numbers, again and again.
std::vector<std::int32_t> plain_slots(std::int64_t num_slots, std::int32_t num_experts) {
  std::vector<std::int32_t> slots(static_cast<std::size_t>(num_slots));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    slots[i] = static_cast<std::int32_t>(i % static_cast<std::size_t>(num_experts));
  }
  return slots;
}

std::string sglang_json(const Placement& placement) {
  std::int32_t num_experts = 1;
  for (const LayerPlacement& layer : placement.layers) {
    num_experts = std::max(num_experts, *std::ranges::max_element(layer.expert_of_slot) + 1);
  }
  std::string text = "{\"physical_to_logical_map\": [\n";
  auto next = placement.layers.begin();
  for (std::int32_t row = 0; row <= placement.layers.back().layer; ++row) {
    const bool has_experts = next->layer == row;
    text += cat(row == 0 ? "  " : ",\n  ",
                list_text(has_experts ? next->expert_of_slot
                                      : plain_slots(placement.num_slots, num_experts)));
    if (has_experts) ++next;
  }
  return text + "\n]}\n";
}

std::string vllm_json(const Placement& placement) {
  std::string text = "[\n";
  for (const LayerPlacement& layer : placement.layers) {
    text += cat(text.size() == 2 ? "  " : ",\n  ", list_text(layer.expert_of_slot));
  }
  return text + "\n]\n";
}

std::string ascend_json(const Placement& placement) {
  const std::int64_t num_devices = placement.ep_size;
  TRIREME_CHECK(num_devices > 0 && placement.num_slots % num_devices == 0, num_devices);
  const auto slots_each = static_cast<std::ptrdiff_t>(placement.num_slots / num_devices);
  std::string text = cat("{\"moe_layer_count\": ", placement.layers.size(), ", \"layer_list\": [");
  for (std::size_t row = 0; row < placement.layers.size(); ++row) {
    text += cat(row == 0 ? "\n" : ",\n", "  {\"layer_id\": ", row,
                ", \"device_count\": ", num_devices, ", \"device_list\": [");
    auto slot = placement.layers[row].expert_of_slot.begin();
    for (std::int64_t device = 0; device < num_devices; ++device, slot += slots_each) {
      text +=
          cat(device == 0 ? "\n" : ",\n", "    {\"device_id\": ", device, ", \"device_expert\": ",
              list_text(std::vector<std::int32_t>(slot, slot + slots_each)), "}");
    }
    text += "]}";
  }
  return text + "\n]}\n";
}

}  // namespace

std::string placement_yaml(const PlacementFile& file) {
  const Placement& placement = file.placement;
  std::ostringstream out;
  out << "# Which expert each slot holds, by layer of the model. TensorRT-LLM reads this file, so\n"
         "# what trireme knows beside it stands in comments.\n"
      << "num_slots: " << placement.num_slots
      << "\nlayer_updates_per_iter: " << placement.layer_updates_per_iter
      << "\ninitial_global_assignments:\n";
  for (const LayerPlacement& layer : placement.layers) {
    out << "  " << layer.layer << ": " << list_text(layer.expert_of_slot) << "\n";
  }
  std::istringstream facts(facts_yaml(file));
  for (std::string line; std::getline(facts, line);)
    out << kPlacementFactsMark << " " << line << "\n";
  return out.str();
}

std::string placement_json(const Placement& placement, PlacementFormat format) {
  TRIREME_CHECK(!placement.layers.empty() && placement.num_slots > 0, placement.num_slots);
  switch (format) {
    case PlacementFormat::sglang:
      return sglang_json(placement);
    case PlacementFormat::vllm:
      return vllm_json(placement);
    case PlacementFormat::ascend:
      return ascend_json(placement);
    case PlacementFormat::trtllm:
      break;
  }
  TRIREME_CHECK(false, name_of(format));
  return {};
}

}  // namespace trireme::eplb
