#include <iostream>
#include <optional>

#include "apps/eplb_commands.h"
#include "apps/eplb_measure.h"
#include "apps/eplb_svg.h"
#include "apps/eplb_text.h"
#include "base/error.h"
#include "eplb/placement_file.h"
#include "eplb/shape.h"
#include "io/file_system.h"
#include "job/load_files.h"

namespace trireme::apps {
namespace {

using config::Options;

config::Syntax show_syntax() {
  return {
      .command = "eplb show",
      .summary =
          "Shows how evenly experts were chosen, and what a placement makes of it. By layer: "
          "the hottest expert, the balance over ranks with each expert in one slot and with "
          "the placement, the same averaged over domains or windows, and to how many other "
          "nodes a token is sent, where choices were recorded; then the heat of all experts. "
          "LOADS is a file that a run recorded, or one of the formats that 'eplb plan' reads.",
      .examples = {"trireme eplb show results.h5.loads.h5 --ep-size 8",
                   "trireme eplb show results.h5.loads.h5 placement.yaml --svg balance.svg"},
      .arguments = {"LOADS", "[PLACEMENT]"},
      .flags = {first_layer_flag(),
                {"ep-size", "G", "Ranks",
                 "number of ranks that share the experts, where PLACEMENT does not say"},
                {"nodes", "M", "Ranks", "nodes they are on, where it does not (default 1)"},
                {"svg", "FILE", "Output", "draw it as well"},
                {"overwrite", "", "Output", "replace a drawing that is there"}},
      .epilogue = "Balance is the highest load of a rank over the mean of all ranks: 1 is even."};
}

/// The flags fill in what the file does not say; where both say something, they must agree.
void take_ranks(eplb::Placement& placement, const std::string& path,
                std::optional<std::int64_t> ep_size, std::optional<std::int64_t> num_nodes) {
  if (placement.ep_size == 0 && !ep_size) {
    fail(ErrorKind::usage, cat("trireme eplb show: --ep-size G is missing: ", path,
                               " does not say the number of ranks"));
  }
  const bool says_nodes = placement.ep_size != 0;
  if (placement.ep_size == 0) placement.ep_size = *ep_size;
  if (num_nodes && says_nodes && placement.num_nodes != *num_nodes) {
    fail(ErrorKind::config, cat(path, ": num_nodes is ", placement.num_nodes,
                                ", expected --nodes, which is ", *num_nodes));
  }
  if (num_nodes) placement.num_nodes = *num_nodes;
}

std::optional<eplb::PlacementFile> read_placement_for(const Options& options,
                                                      const io::ExpertLoads& loads) {
  if (options.num_arguments() < 2) return {};
  const std::string& path = options.argument(1);
  const eplb::LayerNumbers numbers{.first_layer = first_layer_of(options),
                                   .num_layers = static_cast<std::int32_t>(loads.num_layers())};
  eplb::PlacementFile file = eplb::read_placement(path, numbers);
  eplb::fill_assignments(file.placement, loads.layer_index, loads.num_experts);
  const auto ep_size = options.whole("ep-size", 1, kMostRanks);
  take_ranks(file.placement, path, ep_size, options.whole("nodes", 1, kMostRanks));
  eplb::require_fit(file.placement,
                    {loads.layer_index, loads.num_experts, ep_size.value_or(file.placement.ep_size),
                     loads.model_hash},
                    path);
  // Nodes that do not divide the ranks.
  eplb::make_shape(loads.num_experts, file.placement.num_slots, file.placement.ep_size,
                   file.placement.num_nodes);
  return file;
}

int show(const Options& options) {
  const std::string svg = options.value("svg");
  if (!svg.empty()) check_new_file(svg, options.has("overwrite"));
  const std::int64_t ep_size = options.whole("ep-size", 1, kMostRanks).value_or(0);
  const std::int64_t num_nodes = options.whole("nodes", 1, kMostRanks).value_or(1);
  const std::string& path = options.argument(0);
  const io::ExpertLoads loads = job::read_loads({path}, first_layer_of(options));
  const auto file = read_placement_for(options, loads);
  if (!file && ep_size > loads.num_experts) {
    fail(ErrorKind::config, cat("--ep-size is ", ep_size, ", expected at most the ",
                                loads.num_experts, " experts of ", path));
  }
  if (!file && num_nodes > 1 && ep_size == 0) {
    fail(ErrorKind::usage, "trireme eplb show: --nodes is given without --ep-size G");
  }
  if (!file && ep_size % num_nodes != 0) {
    fail(ErrorKind::config,
         cat("--nodes is ", num_nodes, ", expected a divisor of --ep-size, which is ", ep_size));
  }

  const LoadsMeasure measured =
      measure(loads, file ? &file->placement : nullptr, ep_size, num_nodes);
  if (!svg.empty()) {
    io::write_file_at_once(
        svg, measure_svg(measured, cat(path, file ? " with " + options.argument(1) : "")));
  }
  std::cout << path << ": " << loads_text(loads) << "\n"
            << balance_text(measured) << "\n"
            << heat_text(measured);
  if (!svg.empty()) std::cout << "\ndrawn: " << svg << "\n";
  return 0;
}

}  // namespace

Subcommand eplb_show_subcommand() { return {show_syntax(), show}; }

}  // namespace trireme::apps
