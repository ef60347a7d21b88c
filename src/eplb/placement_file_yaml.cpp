#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/nearest.h"
#include "config/yaml_tree.h"
#include "eplb/placement_file_formats.h"

namespace trireme::eplb {
namespace {

using config::YamlNode;

constexpr config::YamlLimits kLimits = {.max_bytes = kMaxPlacementBytes,
                                        .max_values = std::size_t{1} << 20};

/// Values of one file, checked; what is wrong is said with the file and the line.
class YamlReader {
 public:
  explicit YamlReader(const std::string& path) : path_(path) {}

  [[noreturn]] void refuse(int line, const std::string& why) const {
    fail(ErrorKind::input, cat(path_, " line ", line, ": ", why));
  }

  YamlNode parse(std::string_view text) const {
    try {
      return config::parse_yaml(text, path_, kLimits);
    } catch (const Error& error) {
      fail(ErrorKind::input, error.what());
    }
  }

  void expect_map(const YamlNode& node, const std::string& what) const {
    if (!node.is_map()) refuse(node.line, cat(what, " is no map"));
    std::set<std::string_view> seen;
    for (const config::YamlKey& key : node.keys) {
      if (seen.insert(key.name).second) continue;
      refuse(key.line, cat(what, " holds ", key.name.substr(0, 80), " twice"));
    }
  }

  static const YamlNode* find(const YamlNode& map, const std::string& key) {
    for (std::size_t i = 0; i < map.keys.size(); ++i) {
      if (map.keys[i].name == key) return &map.items[i];
    }
    return nullptr;
  }

  const YamlNode& at(const YamlNode& map, const std::string& key) const {
    const YamlNode* found = find(map, key);
    if (found == nullptr) fail(ErrorKind::input, cat(path_, ": ", key, " is not there"));
    return *found;
  }

  std::int64_t integer(const std::string& text, int line, const std::string& what, std::int64_t min,
                       std::int64_t max) const {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_whole = error == std::errc() && end == text.data() + text.size();
    if (!is_whole || value < min || value > max) {
      refuse(line, cat(what, " is '", text.substr(0, 40), "', expected a whole number from ", min,
                       " to ", max));
    }
    return value;
  }

  std::int64_t integer(const YamlNode& node, const std::string& what, std::int64_t min,
                       std::int64_t max) const {
    if (!node.is_scalar() || node.quoted) {
      refuse(node.line, cat(what, " is no whole number, expected one from ", min, " to ", max));
    }
    return integer(node.text, node.line, what, min, max);
  }

  std::vector<std::int32_t> integers(const YamlNode& node, const std::string& what,
                                     const char* item, std::int64_t min, std::int64_t max) const {
    if (node.kind != YamlNode::Kind::list || node.items.empty()) {
      refuse(node.line, cat(what, " is no list of whole numbers"));
    }
    if (std::ssize(node.items) > kMaxSlots) {
      refuse(node.line,
             cat(what, " has ", node.items.size(), " values, at most ", kMaxSlots, " are read"));
    }
    std::vector<std::int32_t> values;
    values.reserve(node.items.size());
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const std::string name = cat(what, " slot ", i, ": the ", item);
      values.push_back(static_cast<std::int32_t>(integer(node.items[i], name, min, max)));
    }
    return values;
  }

  double number(const YamlNode& node, const std::string& what) const {
    double value = 0;
    const char* end = node.text.data() + node.text.size();
    const auto [stop, error] = std::from_chars(node.text.data(), end, value);
    const bool is_number = node.is_scalar() && !node.quoted && error == std::errc() && stop == end;
    if (!is_number || !std::isfinite(value)) refuse(node.line, cat(what, " is no finite number"));
    return value;
  }

  std::string text(const YamlNode& map, const std::string& key) const {
    const YamlNode* node = find(map, key);
    if (node == nullptr || node->kind == YamlNode::Kind::null) return {};
    if (!node->is_scalar()) refuse(node->line, cat(key, " is no text"));
    return node->text;
  }

 private:
  const std::string& path_;
};

/// The facts' lines as a text of their own, each in the line where it stood.
std::string facts_text(std::string_view text) {
  std::string facts;
  std::size_t num_held = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with(kPlacementFactsMark)) {
      line.remove_prefix(kPlacementFactsMark.size());
      if (line.starts_with(' ')) line.remove_prefix(1);
      facts += line;
      ++num_held;
    }
    facts += '\n';
  }
  return num_held == 0 ? std::string() : facts;
}

void take_assignments(const YamlReader& reader, const YamlNode& map, Placement& placement) {
  const std::string name = "initial_global_assignments";
  reader.expect_map(map, name);
  if (map.items.empty() || std::ssize(map.items) > kMaxLayers) {
    reader.refuse(map.line,
                  cat(name, " holds ", map.items.size(), " layers, expected 1 to ", kMaxLayers));
  }
  for (std::size_t i = 0; i < map.items.size(); ++i) {
    const config::YamlKey& key = map.keys[i];
    LayerPlacement layer;
    layer.layer = static_cast<std::int32_t>(
        reader.integer(key.name, key.line, cat(name, ": the layer"), 0, kMaxLayerNumber));
    layer.expert_of_slot = reader.integers(map.items[i], cat(name, ": layer ", layer.layer),
                                           "expert", 0, kMaxExpertId);
    placement.layers.push_back(std::move(layer));
  }
  std::ranges::sort(placement.layers, {}, &LayerPlacement::layer);
  // Names such as 3 and 03 differ and mean the same.
  const auto twice = std::ranges::adjacent_find(placement.layers, {}, &LayerPlacement::layer);
  if (twice != placement.layers.end()) {
    reader.refuse(map.line, cat(name, " holds layer ", twice->layer, " twice"));
  }
}

LayerPlacement& layer_of(const YamlReader& reader, const config::YamlKey& key,
                         const std::string& what, Placement& placement) {
  const auto number =
      reader.integer(key.name, key.line, cat(what, ": the layer"), 0, kMaxLayerNumber);
  for (LayerPlacement& layer : placement.layers) {
    if (layer.layer == number) return layer;
  }
  reader.refuse(key.line, cat(what, " names layer ", number, ", which has no assignments"));
}

void take_weights(const YamlReader& reader, const YamlNode& map, Placement& placement) {
  reader.expect_map(map, "slot_weights");
  for (std::size_t i = 0; i < map.items.size(); ++i) {
    LayerPlacement& layer = layer_of(reader, map.keys[i], "slot_weights", placement);
    layer.slot_weights = reader.integers(map.items[i], cat("slot_weights: layer ", layer.layer),
                                         "weight", 1, INT32_MAX);
  }
}

void take_layer_facts(const YamlReader& reader, const YamlNode& map, Placement& placement,
                      PlacementFacts& facts) {
  reader.expect_map(map, "layers");
  for (std::size_t i = 0; i < map.items.size(); ++i) {
    LayerFacts layer;
    layer.layer = layer_of(reader, map.keys[i], "layers", placement).layer;
    const std::string what = cat("layers: layer ", layer.layer);
    reader.expect_map(map.items[i], what);
    for (const auto& [key, value] :
         {std::pair<const char*, double*>{"balance_before", &layer.balance_before},
          {"balance", &layer.balance},
          {"deepseek", &layer.deepseek},
          {"lower_bound", &layer.lower_bound},
          {"gap", &layer.gap}}) {
      const YamlNode* node = YamlReader::find(map.items[i], key);
      if (node != nullptr) *value = reader.number(*node, cat(what, " ", key));
    }
    facts.layers.push_back(layer);
  }
  std::ranges::sort(facts.layers, {}, &LayerFacts::layer);
}

ReplicaChoice replica_choice_of(const YamlReader& reader, const YamlNode& node) {
  if (node.is_scalar() && node.text == "quota") return ReplicaChoice::quota;
  if (node.is_scalar() && node.text == "home") return ReplicaChoice::home;
  reader.refuse(node.line, cat("replica_choice is '", node.text, "', expected quota or home"));
}

void check_schema(const YamlReader& reader, const YamlNode& map) {
  const std::string schema = reader.text(map, "schema");
  if (schema != kPlacementSchema) {
    reader.refuse(map.line, cat("schema is '", schema, "', expected ", kPlacementSchema));
  }
  const std::string version = reader.text(map, "schema_version");
  if (!version.starts_with("1.")) {
    reader.refuse(map.line, cat("schema_version is '", version, "', expected 1. something"));
  }
}

void take_facts(const YamlReader& reader, const YamlNode& map, PlacementFile& file) {
  reader.expect_map(map, "what trireme adds");
  check_schema(reader, map);
  Placement& placement = file.placement;
  PlacementFacts& facts = file.facts.emplace();
  const auto optional_integer = [&](const char* key, std::int64_t fallback, std::int64_t min) {
    const YamlNode* node = YamlReader::find(map, key);
    return node == nullptr ? fallback : reader.integer(*node, key, min, kMaxSlots);
  };
  placement.ep_size = optional_integer("ep_size", 0, 0);
  placement.num_nodes = optional_integer("num_nodes", 1, 1);
  if (const YamlNode* choice = YamlReader::find(map, "replica_choice")) {
    placement.replica_choice = replica_choice_of(reader, *choice);
  }
  placement.model_name = reader.text(map, "model");
  placement.model_hash = reader.text(map, "model_hash");
  facts.method = reader.text(map, "method");
  facts.objective = reader.text(map, "objective");
  facts.loads_hash = reader.text(map, "loads_hash");
  if (const YamlNode* seed = YamlReader::find(map, "seed")) {
    facts.seed = static_cast<std::uint64_t>(reader.integer(*seed, "seed", 0, INT64_MAX));
  }
  if (const YamlNode* weights = YamlReader::find(map, "slot_weights")) {
    take_weights(reader, *weights, placement);
  }
  if (const YamlNode* layers = YamlReader::find(map, "layers")) {
    take_layer_facts(reader, *layers, placement, facts);
  }
  const std::string hash = reader.text(map, "assignments_hash");
  if (!hash.empty() && hash != assignments_hash(placement)) {
    reader.refuse(
        YamlReader::find(map, "assignments_hash")->line,
        cat("assignments_hash is ", hash, ", the assignments have ", assignments_hash(placement),
            ": they were changed; without this line they are taken as they are"));
  }
}

void check_keys(const YamlReader& reader, const YamlNode& root) {
  const std::vector<std::string> known = {"num_slots", "initial_global_assignments",
                                          "layer_updates_per_iter", "trireme"};
  reader.expect_map(root, "the file");
  for (const config::YamlKey& key : root.keys) {
    if (std::ranges::find(known, key.name) != known.end()) continue;
    const std::string nearest = nearest_name(key.name, known);
    reader.refuse(key.line, cat("unknown key '", key.name.substr(0, 80), "'",
                                nearest.empty() ? "" : cat(", expected ", nearest, "?")));
  }
}

}  // namespace

PlacementFile parse_placement_yaml(std::string_view text, const std::string& path) {
  const YamlReader reader(path);
  const YamlNode root = reader.parse(text);
  check_keys(reader, root);
  PlacementFile file;
  file.placement.num_slots =
      reader.integer(reader.at(root, "num_slots"), "num_slots", 1, kMaxSlots);
  if (const YamlNode* updates = YamlReader::find(root, "layer_updates_per_iter")) {
    file.placement.layer_updates_per_iter =
        reader.integer(*updates, "layer_updates_per_iter", 0, kMaxLayerNumber);
  }
  if (const YamlNode* map = YamlReader::find(root, "initial_global_assignments")) {
    take_assignments(reader, *map, file.placement);
  }
  const std::string facts = facts_text(text);
  if (!facts.empty()) {
    take_facts(reader, reader.parse(facts), file);
  } else if (const YamlNode* map = YamlReader::find(root, "trireme")) {
    take_facts(reader, *map, file);
  }
  return file;
}

}  // namespace trireme::eplb
