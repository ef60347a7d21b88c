#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eplb/placement.h"

namespace trireme::eplb {

/// What a plan knew of one layer; balance is the highest load of a rank over the mean of all ranks.
struct LayerFacts {
  std::int32_t layer = 0;
  double balance_before = 0;  ///< each expert in one slot, in the order of their numbers
  double balance = 0;
  double deepseek = 0;     ///< balance of DeepSeek's placement
  double lower_bound = 0;  ///< no placement is below it
  double gap = 0;          ///< balance / lower_bound - 1
};

/// How a placement came about.
struct PlacementFacts {
  std::string method, objective;
  std::uint64_t seed = 0;
  std::string loads_hash;          ///< io::content_hash of what it was planned from
  std::vector<LayerFacts> layers;  ///< ascending by layer
};

/// A placement with what its file says of it.
struct PlacementFile {
  Placement placement;
  std::optional<PlacementFacts> facts;  ///< none: planned elsewhere
};

enum class PlacementFormat : std::uint8_t {
  trtllm,  ///< TensorRT-LLM's YAML: num_slots, initial_global_assignments, layer_updates_per_iter
  sglang,  ///< JSON: physical_to_logical_map, a row for every layer of the model
  vllm,    ///< JSON: one list for all MoE layers, or a list for each
  ascend,  ///< vllm-ascend's JSON: layer_list of device_list
};

/// "trtllm", "sglang", "vllm", "ascend".
const char* name_of(PlacementFormat format);
std::optional<PlacementFormat> placement_format_from_name(const std::string& name);

/// What formats that do not number the model's layers leave open.
struct LayerNumbers {
  std::int32_t first_layer = 0;                 ///< the model's number of the first row
  std::optional<std::int32_t> num_layers = {};  ///< rows that one list for all layers stands for
};

/// Reads a placement in any of the formats; the content tells which. What trireme adds to
/// TensorRT-LLM's YAML stands in comments that begin with `#|`, since its reader takes no other
/// keys; a map `trireme` in their place is understood too. A file that is broken in itself is an
/// Error(input) that names file, layer and value; whether it fits a model is not looked at.
PlacementFile read_placement(const std::string& path, const LayerNumbers& numbers = {});

/// Reads a placement that stands as a YAML map in another file; `name` is what messages call it.
/// Without initial_global_assignments it has no layers: fill_assignments() makes them.
PlacementFile parse_placement(std::string_view text, const std::string& name);

/// The text of a file. For `ascend` the placement must have an ep_size. Rows that `sglang` wants
/// for layers without experts hold the experts in the order of their numbers.
std::string placement_text(const PlacementFile& file, PlacementFormat format);

/// The text to PATH.tmp, then renamed: what was there is replaced. Throws Error(output), Error(io).
void write_placement(const PlacementFile& file, PlacementFormat format, const std::string& path);

/// SHA-256 of where the experts are and how replicas share, the same however it is written down.
std::string assignments_hash(const Placement& placement);

/// Gives a placement without layers TensorRT-LLM's assignments for that: slot i holds expert
/// i mod num_experts in each of these layers.
void fill_assignments(Placement& placement, std::span<const std::int32_t> layers,
                      std::int64_t num_experts);

/// The model and the ranks that a placement is to serve.
struct PlacementUse {
  std::span<const std::int32_t> layers;  ///< the model's numbers of its MoE layers, ascending
  std::int64_t num_experts = 0;
  std::int64_t ep_size = 0;  ///< 0: not known yet
  std::string model_hash;    ///< empty: not known
};

/// Why a placement does not fit its use; empty if it does. Every fault names layer and slot or
/// expert; of faults of one kind in one layer the first is named and the others are counted.
std::vector<std::string> check_placement(const Placement& placement, const PlacementUse& use);

/// Throws Error(config) with the faults and the name of the file.
void require_fit(const Placement& placement, const PlacementUse& use, const std::string& path);

}  // namespace trireme::eplb
