#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "eplb/placement_file_formats.h"

namespace trireme::eplb {
namespace {

constexpr JsonLimits kLimits = {
    .max_bytes = kMaxPlacementBytes, .max_depth = 16, .exact_integers = true};

/// Values of one file, checked; what is wrong is said with the file and the place.
class JsonReader {
 public:
  explicit JsonReader(const std::string& path) : path_(path) {}

  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorKind::input, cat(path_, ": ", why));
  }

  std::int64_t integer(const Json& value, const std::string& what, std::int64_t min,
                       std::int64_t max) const {
    const bool is_small = value.is_number_integer() &&
                          (!value.is_number_unsigned() ||
                           value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
    if (!is_small || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max) {
      refuse(cat(what, " is ", short_text(value), ", expected a whole number from ", min, " to ",
                 max));
    }
    return value.get<std::int64_t>();
  }

  const Json& list(const Json& value, const std::string& what, std::int64_t max_length) const {
    if (!value.is_array() || value.empty() || std::ssize(value) > max_length) {
      refuse(cat(what, " is ", short_text(value), ", expected a list of 1 to ", max_length,
                 " values"));
    }
    return value;
  }

  const Json& member(const Json& object, const std::string& what, const char* key) const {
    if (!object.is_object()) refuse(cat(what, " is ", short_text(object), ", expected an object"));
    const auto found = object.find(key);
    if (found == object.end()) refuse(cat(what, " has no ", key));
    return *found;
  }

  std::vector<std::int32_t> experts(const Json& value, const std::string& what) const {
    std::vector<std::int32_t> ids;
    ids.reserve(list(value, what, kMaxSlots).size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      ids.push_back(static_cast<std::int32_t>(
          integer(value[i], cat(what, " slot ", i, ": the expert"), 0, kMaxExpertId)));
    }
    return ids;
  }

 private:
  static std::string short_text(const Json& value) {
    if (value.is_array()) return cat("a list of ", value.size());
    if (value.is_object()) return cat("an object of ", value.size());
    return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 80);
  }

  const std::string& path_;
};

void add_layer(const JsonReader& reader, std::vector<std::int32_t> experts, std::int64_t layer,
               Placement& placement) {
  if (layer > kMaxLayerNumber) {
    reader.refuse(cat("layer ", layer, ": expected numbers up to ", kMaxLayerNumber));
  }
  if (placement.layers.empty()) placement.num_slots = std::ssize(experts);
  if (std::ssize(experts) != placement.num_slots) {
    reader.refuse(cat("layer ", layer, " has ", experts.size(), " slots, expected ",
                      placement.num_slots, " as in layer ", placement.layers.front().layer));
  }
  placement.layers.push_back({static_cast<std::int32_t>(layer), std::move(experts), {}});
}

Placement parse_rows(const JsonReader& reader, const Json& rows, const std::string& what,
                     std::int64_t first_layer) {
  Placement placement;
  reader.list(rows, what, kMaxLayers);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t layer = first_layer + static_cast<std::int64_t>(i);
    add_layer(reader, reader.experts(rows[i], cat(what, ": layer ", layer)), layer, placement);
  }
  return placement;
}

/// One list of experts stands for all layers, of which the file does not know how many there are.
Placement parse_vllm(const JsonReader& reader, const Json& document, const LayerNumbers& numbers) {
  if (document.empty() || document.front().is_array()) {
    return parse_rows(reader, document, "the file", numbers.first_layer);
  }
  const std::vector<std::int32_t> experts = reader.experts(document, "the file");
  if (!numbers.num_layers) {
    reader.refuse(
        "holds one list for all layers, expected one for each, or their number "
        "(--num-layers)");
  }
  Placement placement;
  for (std::int32_t i = 0; i < *numbers.num_layers; ++i) {
    add_layer(reader, experts, std::int64_t{numbers.first_layer} + i, placement);
  }
  return placement;
}

/// The slots of one layer: the devices in the order of their ids, whatever that of the file.
std::vector<std::int32_t> parse_devices(const JsonReader& reader, const Json& entry,
                                        const std::string& what, std::int64_t num_devices) {
  const Json& list =
      reader.list(reader.member(entry, what, "device_list"), cat(what, " device_list"), kMaxSlots);
  if (std::ssize(list) != num_devices) {
    reader.refuse(cat(what, " device_list has ", list.size(), " devices, expected device_count, ",
                      num_devices));
  }
  std::vector<std::vector<std::int32_t>> devices(list.size());
  for (const Json& device : list) {
    const auto id = static_cast<std::size_t>(reader.integer(
        reader.member(device, what, "device_id"), cat(what, " device_id"), 0, num_devices - 1));
    const std::string name = cat(what, " device ", id);
    if (!devices[id].empty()) reader.refuse(cat(name, " stands twice"));
    devices[id] = reader.experts(reader.member(device, name, "device_expert"), name);
  }
  std::vector<std::int32_t> slots;
  for (std::size_t id = 0; id < devices.size(); ++id) {
    if (devices[id].size() != devices.front().size()) {
      reader.refuse(cat(what, " device ", id, " has ", devices[id].size(), " slots, expected ",
                        devices.front().size(), " as device 0"));
    }
    slots.insert(slots.end(), devices[id].begin(), devices[id].end());
  }
  return slots;
}

Placement parse_ascend(const JsonReader& reader, const Json& document, std::int64_t first_layer) {
  Placement placement;
  const Json& layers = reader.list(document["layer_list"], "layer_list", kMaxLayers);
  const auto count = document.find("moe_layer_count");
  if (count != document.end()) {
    const auto expected = reader.integer(*count, "moe_layer_count", 1, kMaxLayers);
    if (expected != std::ssize(layers)) {
      reader.refuse(
          cat("layer_list has ", layers.size(), " layers, expected moe_layer_count, ", expected));
    }
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string place = cat("layer_list [", i, "]");
    const auto id = reader.integer(reader.member(layers[i], place, "layer_id"),
                                   cat(place, " layer_id"), 0, kMaxLayerNumber);
    const std::string what = cat("layer_id ", id);
    const auto num_devices = reader.integer(reader.member(layers[i], what, "device_count"),
                                            cat(what, " device_count"), 1, kMaxSlots);
    if (i == 0) placement.ep_size = num_devices;
    if (num_devices != placement.ep_size) {
      reader.refuse(cat(what, " device_count is ", num_devices, ", expected ", placement.ep_size,
                        " as in the first layer"));
    }
    add_layer(reader, parse_devices(reader, layers[i], what, num_devices), first_layer + id,
              placement);
  }
  std::ranges::sort(placement.layers, {}, &LayerPlacement::layer);
  const auto twice = std::ranges::adjacent_find(placement.layers, {}, &LayerPlacement::layer);
  if (twice != placement.layers.end()) {
    reader.refuse(cat("layer_list holds layer_id ", twice->layer - first_layer, " twice"));
  }
  return placement;
}

}  // namespace

PlacementFile parse_placement_json(std::string_view text, const std::string& path,
                                   const LayerNumbers& numbers) {
  const JsonReader reader(path);
  const Json document = parse_json(text, path, kLimits);
  if (document.is_array()) return {parse_vllm(reader, document, numbers), {}};
  const auto map = document.find("physical_to_logical_map");
  if (map != document.end()) {
    return {parse_rows(reader, *map, "physical_to_logical_map", numbers.first_layer), {}};
  }
  if (document.contains("layer_list")) {
    return {parse_ascend(reader, document, numbers.first_layer), {}};
  }
  if (document.contains("logical_count") || document.contains("load_history")) {
    reader.refuse(
        "holds loads of experts, expected a placement; plan one from it with 'trireme "
        "eplb plan --loads'");
  }
  reader.refuse(
      "is JSON without a placement, expected physical_to_logical_map (SGLang), layer_list "
      "(vllm-ascend) or lists of experts (vLLM)");
}

}  // namespace trireme::eplb
