#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <optional>

#include "apps/eplb_commands.h"
#include "apps/eplb_text.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/machine.h"
#include "eplb/placement_file.h"
#include "eplb/planner.h"
#include "io/file_system.h"
#include "job/load_files.h"

namespace trireme::apps {
namespace {

using config::Options;

constexpr double kProgressSeconds = 1;
constexpr std::int64_t kMostThreads = 1024;

config::Syntax plan_syntax() {
  return {
      .command = "eplb plan",
      .summary =
          "Computes from recorded loads in which slots the experts of each layer should live, so "
          "that all ranks have about as much to do. It writes a placement file for "
          "moe_config.load_balancer. Hot experts get several slots. The file is the same on every "
          "machine and with any number of threads.",
      .examples = {"trireme eplb plan --loads results.h5.loads.h5 --num-slots 48 --ep-size 8 "
                   "--output placement.yaml",
                   "trireme eplb plan --loads monday.h5 tuesday.h5 --num-slots 288 --ep-size 32 "
                   "--nodes 4 --previous old.yaml --max-moved 15% --output new.yaml"},
      .arguments = {},
      .flags =
          {{"loads", "FILE...", "Input",
            "files of one model that are added up (required): those of --record-loads, a folder of "
            "TensorRT-LLM's statistics, SGLang's or vLLM's dumps (JSON, safetensors), a trace of "
            "load_history (JSON)"},
           first_layer_flag(),
           {"previous", "FILE", "Input", "a placement to change little of"},
           {"max-moved", "SHARE", "Input",
            "share of its slots whose expert may change, such as 15% or 0.15 (default 15%)"},
           {"num-slots", "N", "Ranks",
            "slots of a layer on all ranks together, at least the number of experts (required)"},
           {"ep-size", "G", "Ranks", "ranks that share the experts; divides N (required)"},
           {"nodes", "M", "Ranks",
            "nodes they are on; divides G (default 1). With several, tokens are kept on few nodes, "
            "which needs loads of --record-choices"},
           {"replica-choice", "RULE", "Ranks",
            "how the run will choose among replicas: quota, or home for those near a token first "
            "(default quota on one node, else home)"},
           {"method", "NAME", "Search",
            "trireme (default), or deepseek for its published algorithm"},
           {"objective", "NAME", "Search",
            "what is balanced: total (also called mean), windows, domains, or auto (default): "
            "domains if there are several, else windows if there are, else the total"},
           {"split", "NAME", "Search",
            "how replicas share their expert's tokens: even (default), or weights"},
           {"traffic-tolerance", "SHARE", "Search",
            "how much balance may be given up to keep tokens on few nodes (default 1%)"},
           {"seed", "N", "Search", "of the search (default 0)"},
           {"threads", "N", "Search", "default: all cores"},
           {"output", "FILE", "Output", "the placement file (required)"},
           {"overwrite", "", "Output", "replace a file that is there"}},
      .epilogue =
          "What it means for the ranks: 'trireme eplb show LOADS PLACEMENT'.\n"
          "Placements for other programs: 'trireme eplb convert'."};
}

[[noreturn]] void refuse_usage(const std::string& why) {
  fail(ErrorKind::usage, cat("trireme eplb plan: ", why, " (see trireme eplb plan --help)"));
}

std::string required(const Options& options, const std::string& name, const std::string& what) {
  const std::string value = options.value(name);
  if (value.empty()) refuse_usage(cat("--", name, " ", what, " is missing"));
  return value;
}

/// A part of the whole, as 15% or 0.15.
std::optional<double> share_of(const Options& options, const std::string& name) {
  const std::string text = options.value(name);
  if (text.empty()) return {};
  const bool is_percent = text.ends_with('%');
  double value = 0;
  const char* const end = text.data() + text.size() - (is_percent ? 1 : 0);
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (is_percent) value /= 100;
  if (error != std::errc() || stop != end || !(value >= 0) || value > 1) {
    refuse_usage(cat("--", name, " is '", text, "', expected a share such as 15% or 0.15"));
  }
  return value;
}

/// The value that stands for one of these names; the first without the flag.
template <typename Value>
Value choice_of(const Options& options, const std::string& name,
                const std::vector<std::pair<std::string, Value>>& choices) {
  const std::string text = options.value(name);
  if (text.empty()) return choices.front().second;
  std::string known;
  for (const auto& [word, value] : choices) {
    if (word == text) return value;
    known += cat(known.empty() ? "" : ", ", word);
  }
  refuse_usage(cat("--", name, " is '", text, "', expected one of ", known));
}

eplb::PlanOptions plan_options(const Options& options) {
  using eplb::Method, eplb::Objective, eplb::ReplicaChoice, eplb::Split;
  eplb::PlanOptions plan;
  required(options, "num-slots", "N");
  required(options, "ep-size", "G");
  plan.num_slots = *options.whole("num-slots", 0, INT64_MAX);
  plan.ep_size = *options.whole("ep-size", 0, INT64_MAX);
  plan.num_nodes = options.whole("nodes", 0, INT64_MAX).value_or(1);
  plan.method = choice_of<Method>(options, "method",
                                  {{"trireme", Method::trireme}, {"deepseek", Method::deepseek}});
  plan.objective = choice_of<std::optional<Objective>>(options, "objective",
                                                       {{"auto", std::nullopt},
                                                        {"total", Objective::total},
                                                        {"mean", Objective::total},
                                                        {"windows", Objective::windows},
                                                        {"domains", Objective::domains}});
  plan.split =
      choice_of<Split>(options, "split", {{"even", Split::even}, {"weights", Split::by_weights}});
  plan.replica_choice = choice_of<ReplicaChoice>(
      options, "replica-choice",
      {{"", plan.num_nodes > 1 ? ReplicaChoice::home : ReplicaChoice::quota},
       {"quota", ReplicaChoice::quota},
       {"home", ReplicaChoice::home}});
  plan.traffic_tolerance = share_of(options, "traffic-tolerance").value_or(plan.traffic_tolerance);
  plan.seed = static_cast<std::uint64_t>(options.whole("seed", 0, INT64_MAX).value_or(0));
  plan.threads =
      static_cast<std::int32_t>(options.whole("threads", 1, kMostThreads).value_or(usable_cores()));
  const std::optional<double> max_moved = share_of(options, "max-moved");
  if (max_moved && !options.has("previous")) {
    refuse_usage("--max-moved is given without --previous, of which it is a share");
  }
  plan.max_moved = max_moved.value_or(plan.max_moved);
  return plan;
}

void check_output(const Options& options, const std::string& output) {
  check_new_file(output, options.has("overwrite"));
  for (const std::string& path : options.values("loads")) {
    std::error_code ignored;
    if (std::filesystem::equivalent(path, output, ignored)) {
      fail(ErrorKind::output, cat(output, ": is one of --loads, expected another file"));
    }
  }
}

io::ExpertLoads read_all_loads(const Options& options) {
  const std::vector<std::string> paths = options.values("loads");
  io::ExpertLoads loads = job::read_loads(paths, first_layer_of(options));
  if (std::ranges::all_of(loads.counts, [](std::int64_t count) { return count == 0; })) {
    fail(ErrorKind::input, cat(paths.front(), ": holds no count above 0, nothing to plan from"));
  }
  return loads;
}

std::optional<eplb::PlacementFile> read_previous(const Options& options,
                                                 const io::ExpertLoads& loads,
                                                 const eplb::PlanOptions& plan) {
  const std::string path = options.value("previous");
  if (path.empty()) return {};
  const eplb::LayerNumbers numbers{.first_layer = first_layer_of(options),
                                   .num_layers = static_cast<std::int32_t>(loads.num_layers())};
  eplb::PlacementFile file = eplb::read_placement(path, numbers);
  eplb::fill_assignments(file.placement, loads.layer_index, loads.num_experts);
  eplb::require_fit(file.placement,
                    {loads.layer_index, loads.num_experts, plan.ep_size, loads.model_hash}, path);
  if (file.placement.num_slots != plan.num_slots) {
    fail(ErrorKind::config, cat(path, ": num_slots is ", file.placement.num_slots,
                                ", expected --num-slots, which is ", plan.num_slots));
  }
  return file;
}

eplb::Plan plan_with_progress(const io::ExpertLoads& loads, eplb::PlanOptions options) {
  const double start = monotonic_seconds();
  double told = start;
  options.progress = [&](std::int64_t done, std::int64_t all) {
    const double now = monotonic_seconds();
    if (now - told < kProgressSeconds) return;
    told = now;
    std::cerr << done << " of " << all << " layers planned in " << static_cast<int>(now - start)
              << " s\n";
  };
  return eplb::plan(loads, options);
}

eplb::PlacementFile file_of(const eplb::Plan& plan, const eplb::PlanOptions& options,
                            const io::ExpertLoads& loads) {
  eplb::PlacementFacts facts;
  facts.method = options.method == eplb::Method::deepseek ? "deepseek" : "trireme";
  facts.objective = eplb::name_of(plan.objective);
  facts.seed = options.seed;
  facts.loads_hash = io::content_hash(loads);
  for (const eplb::PlannedLayer& layer : plan.layers) facts.layers.push_back(layer.facts);
  return {plan.placement, std::move(facts)};
}

int plan_placement(const Options& options) {
  if (options.values("loads").empty()) refuse_usage("--loads FILE is missing");
  eplb::PlanOptions plan_with = plan_options(options);
  const std::string output = required(options, "output", "FILE");
  check_output(options, output);
  const io::ExpertLoads loads = read_all_loads(options);
  const auto shape = eplb::make_shape(loads.num_experts, plan_with.num_slots, plan_with.ep_size,
                                      plan_with.num_nodes);
  const auto previous = read_previous(options, loads, plan_with);
  if (previous) plan_with.previous = &previous->placement;

  const eplb::Plan plan = plan_with_progress(loads, plan_with);
  eplb::write_placement(file_of(plan, plan_with, loads), eplb::PlacementFormat::trtllm, output);

  const bool has_choices = !loads.choices.empty();
  std::cout << "loads: " << loads_text(loads) << "Balance of " << shape.num_ranks << " ranks with "
            << shape.slots_per_rank << " slots each, over "
            << (plan.objective == eplb::Objective::total ? "the total"
                                                         : eplb::name_of(plan.objective))
            << ":\n"
            << plan_text(plan, previous.has_value(), shape.num_nodes > 1 && has_choices);
  if (shape.num_nodes > 1 && !has_choices) {
    std::cout << "The loads hold no choices of tokens (--record-choices): nodes are balanced, "
                 "traffic between them is not looked at.\n";
  }
  std::cout << "placement: " << output << "\n";
  return 0;
}

}  // namespace

Subcommand eplb_plan_subcommand() { return {plan_syntax(), plan_placement}; }

}  // namespace trireme::apps
