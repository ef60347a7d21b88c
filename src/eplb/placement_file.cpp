#include "eplb/placement_file.h"

#include <array>
#include <utility>

#include "base/error.h"
#include "eplb/placement_file_formats.h"
#include "io/file_system.h"
#include "io/sha256.h"

namespace trireme::eplb {
namespace {

constexpr std::array<std::pair<PlacementFormat, const char*>, 4> kFormats = {
    {{PlacementFormat::trtllm, "trtllm"},
     {PlacementFormat::sglang, "sglang"},
     {PlacementFormat::vllm, "vllm"},
     {PlacementFormat::ascend, "ascend"}}};

bool looks_like_json(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
}

}  // namespace

const char* name_of(PlacementFormat format) {
  for (const auto& [known, name] : kFormats) {
    if (known == format) return name;
  }
  return "";
}

std::optional<PlacementFormat> placement_format_from_name(const std::string& name) {
  for (const auto& [format, known] : kFormats) {
    if (known == name) return format;
  }
  return {};
}

std::string list_text(const std::vector<std::int32_t>& numbers) {
  std::string text = "[";
  for (const std::int32_t number : numbers) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(number);
  }
  return text + "]";
}

PlacementFile read_placement(const std::string& path, const LayerNumbers& numbers) {
  const std::string text = io::read_small_file(path, kMaxPlacementBytes);
  return looks_like_json(text) ? parse_placement_json(text, path, numbers)
                               : parse_placement_yaml(text, path);
}

PlacementFile parse_placement(std::string_view text, const std::string& name) {
  return parse_placement_yaml(text, name);
}

std::string placement_text(const PlacementFile& file, PlacementFormat format) {
  return format == PlacementFormat::trtllm ? placement_yaml(file)
                                           : placement_json(file.placement, format);
}

void write_placement(const PlacementFile& file, PlacementFormat format, const std::string& path) {
  io::write_file_at_once(path, placement_text(file, format));
}

std::string assignments_hash(const Placement& placement) {
  io::Sha256 hash;
  hash.update(cat("slots ", placement.num_slots, "\n"));
  for (const LayerPlacement& layer : placement.layers) {
    hash.update(cat("layer ", layer.layer, " ", list_text(layer.expert_of_slot), "\n"));
    if (!layer.slot_weights.empty()) {
      hash.update(cat("weights ", list_text(layer.slot_weights), "\n"));
    }
  }
  return hash.hex_digest();
}

}  // namespace trireme::eplb
