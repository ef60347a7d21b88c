#include <algorithm>
#include <iostream>

#include "apps/eplb_commands.h"
#include "base/error.h"
#include "eplb/placement_file.h"

namespace trireme::apps {
namespace {

using config::Options;
using eplb::PlacementFormat;

config::Syntax convert_syntax() {
  return {
      .command = "eplb convert",
      .summary =
          "Writes a placement in another program's format. IN is a placement file of trireme or "
          "TensorRT-LLM (YAML), SGLang, vLLM or vllm-ascend (JSON); its content tells which.",
      .examples = {"trireme eplb convert placement.yaml placement.json --to sglang",
                   "trireme eplb convert expert_map.json placement.yaml --to trtllm "
                   "--first-layer 3"},
      .arguments = {"IN", "OUT"},
      .flags = {first_layer_flag(),
                {"num-layers", "N", "Input",
                 "how many layers one list for all of them stands for (vLLM)"},
                {"ep-size", "G", "Input",
                 "number of ranks, where IN does not say; ascend needs it"},
                {"to", "FORMAT", "Output", "trtllm, sglang, vllm or ascend (required)"},
                {"overwrite", "", "Output", "replace a file that is there"}},
      .epilogue =
          "SGLang's format has a row for every layer up to the last: those without "
          "experts hold the experts in order."};
}

PlacementFormat format_of(const Options& options) {
  const std::string name = options.value("to");
  if (name.empty()) {
    fail(ErrorKind::usage,
         "trireme eplb convert: --to FORMAT is missing (trtllm, sglang, vllm or ascend)");
  }
  const auto format = eplb::placement_format_from_name(name);
  if (!format) {
    fail(ErrorKind::usage, cat("trireme eplb convert: --to is '", name,
                               "', expected trtllm, sglang, vllm or ascend"));
  }
  return *format;
}

/// Without a model: the experts are those that have a slot, and the layers are those of the file.
void check_alone(const eplb::Placement& placement, const std::string& path) {
  std::vector<std::int32_t> layers;
  std::int64_t num_experts = 0;
  for (const eplb::LayerPlacement& layer : placement.layers) {
    layers.push_back(layer.layer);
    for (const std::int32_t expert : layer.expert_of_slot) {
      num_experts = std::max<std::int64_t>(num_experts, expert + 1);
    }
  }
  eplb::require_fit(placement, {layers, num_experts, placement.ep_size, {}}, path);
}

int convert(const Options& options) {
  const PlacementFormat format = format_of(options);
  const std::string& input = options.argument(0);
  const std::string& output = options.argument(1);
  const auto num_layers = options.whole("num-layers", 1, 4096);
  const auto ep_size = options.whole("ep-size", 1, kMostRanks);
  eplb::LayerNumbers numbers{.first_layer = first_layer_of(options)};
  if (num_layers) numbers.num_layers = static_cast<std::int32_t>(*num_layers);

  eplb::PlacementFile file = eplb::read_placement(input, numbers);
  if (ep_size && file.placement.ep_size != 0 && file.placement.ep_size != *ep_size) {
    fail(ErrorKind::config, cat(input, ": ep_size is ", file.placement.ep_size,
                                ", expected --ep-size, which is ", *ep_size));
  }
  if (ep_size) file.placement.ep_size = *ep_size;
  if (format == PlacementFormat::ascend && file.placement.ep_size == 0) {
    fail(ErrorKind::usage, cat("trireme eplb convert: --ep-size G is missing: ", input,
                               " does not say the number of ranks, and ascend lists them"));
  }
  if (file.placement.layers.empty()) {
    fail(ErrorKind::input, cat(input, ": holds no initial_global_assignments to convert"));
  }
  check_alone(file.placement, input);
  check_new_file(output, options.has("overwrite"));
  eplb::write_placement(file, format, output);
  std::cout << output << ": " << file.placement.layers.size() << " layers of "
            << file.placement.num_slots << " slots, for " << eplb::name_of(format) << "\n";
  return 0;
}

}  // namespace

Subcommand eplb_convert_subcommand() { return {convert_syntax(), convert}; }

}  // namespace trireme::apps
