#include "eplb/planner.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"

namespace trireme::eplb {

namespace {

void check_counts(const io::ExpertLoads& loads, const std::vector<std::int64_t>& counts,
                  std::int64_t parts, const char* what) {
  const std::int64_t layers = loads.num_layers(), experts = loads.num_experts;
  if (static_cast<std::int64_t>(counts.size()) != parts * layers * experts) {
    fail(ErrorKind::input, cat(what, " of the loads has ", counts.size(), " values, expected ",
                               parts, " x ", layers, " layers x ", experts, " experts"));
  }
  for (std::size_t at = 0; at < counts.size(); ++at) {
    if (counts[at] >= 0) continue;
    const auto cell = static_cast<std::int64_t>(at);
    fail(ErrorKind::input,
         cat(what, " of the loads has ", counts[at], " for expert ", cell % experts, " in layer ",
             loads.layer_index[cell / experts % layers], ", expected 0 or more"));
  }
}

void check_choices(const io::ExpertLoads& loads) {
  if (loads.choices.empty()) return;
  const auto tokens = static_cast<std::int64_t>(loads.choices_home.size());
  if (static_cast<std::int64_t>(loads.choices.size()) != loads.num_layers() || loads.top_k < 1) {
    fail(ErrorKind::input,
         cat("the loads hold choices of ", loads.choices.size(), " layers with top_k ", loads.top_k,
             ", expected ", loads.num_layers(), " layers"));
  }
  for (std::int64_t layer = 0; layer < loads.num_layers(); ++layer) {
    const auto& choices = loads.choices[layer];
    if (static_cast<std::int64_t>(choices.size()) != tokens * loads.top_k) {
      fail(ErrorKind::input,
           cat("layer ", loads.layer_index[layer], " of the loads has ", choices.size(),
               " choices, expected ", tokens, " tokens x ", loads.top_k));
    }
    for (const std::int16_t expert : choices) {
      if (expert >= -1 && expert < loads.num_experts) continue;
      fail(ErrorKind::input,
           cat("layer ", loads.layer_index[layer], " of the loads chooses expert ", expert,
               ", expected one below ", loads.num_experts));
    }
  }
  for (const std::int32_t home : loads.choices_home) {
    if (home < 0) fail(ErrorKind::input, cat("the loads name rank ", home, " as a token's home"));
  }
}

void check_loads(const io::ExpertLoads& loads) {
  if (loads.num_layers() == 0 || loads.num_experts < 1) {
    fail(ErrorKind::input, cat("the loads have ", loads.num_layers(), " layers and ",
                               loads.num_experts, " experts: nothing to plan"));
  }
  check_counts(loads, loads.counts, loads.num_windows(), "expert_loads");
  if (!loads.domains.empty()) {
    check_counts(loads, loads.by_domain, static_cast<std::int64_t>(loads.domains.size()),
                 "by_domain");
  }
  check_choices(loads);
}

Objective choose_objective(const io::ExpertLoads& loads, const PlanOptions& options) {
  if (options.method == Method::deepseek) return Objective::total;
  if (options.objective == Objective::domains && loads.domains.size() < 2) {
    fail(ErrorKind::config, cat("--objective domains: the loads hold ", loads.domains.size(),
                                " domains, expected several"));
  }
  if (options.objective == Objective::windows && loads.num_windows() < 2) {
    fail(ErrorKind::config, "--objective windows: the loads hold one window, expected several");
  }
  if (options.objective) return *options.objective;
  if (options.num_nodes > 1 && !loads.choices.empty()) return Objective::total;
  if (loads.domains.size() > 1) return Objective::domains;
  return loads.num_windows() > 1 ? Objective::windows : Objective::total;
}

/// [parts, experts] of one layer of [parts, layers, experts].
std::vector<std::int64_t> of_layer(const io::ExpertLoads& loads,
                                   const std::vector<std::int64_t>& counts, std::int64_t layer) {
  const std::int64_t experts = loads.num_experts, stride = loads.num_layers() * experts;
  std::vector<std::int64_t> found;
  for (auto begin = counts.begin() + layer * experts; begin < counts.end(); begin += stride) {
    found.insert(found.end(), begin, begin + experts);
    if (counts.end() - begin <= stride) break;
  }
  return found;
}

/// Adds up parts without overflow: what exceeds the range counts as its end.
std::vector<std::int64_t> sum_of(const std::vector<std::int64_t>& parts, std::int64_t experts) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  std::vector<std::int64_t> sums(experts, 0);
  for (std::size_t at = 0; at < parts.size(); ++at) {
    std::int64_t& sum = sums[at % experts];
    sum = parts[at] > kMost - sum ? kMost : sum + parts[at];
  }
  return sums;
}

class Planner {
 public:
  Planner(const io::ExpertLoads& loads, const PlanOptions& options)
      : loads_(loads),
        options_(options),
        shape_(
            make_shape(loads.num_experts, options.num_slots, options.ep_size, options.num_nodes)),
        objective_(choose_objective(loads, options)),
        homes_(homes_for(loads.choices_home, options.ep_size)) {
    check_groups();
    check_previous();
  }

  Plan run() {
    Plan plan;
    plan.objective = objective_;
    plan.layers.resize(loads_.num_layers());
    run_threads(plan.layers);
    plan.placement = {.num_slots = options_.num_slots,
                      .ep_size = options_.ep_size,
                      .num_nodes = options_.num_nodes,
                      .layer_updates_per_iter = 0,
                      .replica_choice = options_.replica_choice,
                      .layers = {},
                      .model_name = loads_.model_name,
                      .model_hash = loads_.model_hash};
    for (const PlannedLayer& layer : plan.layers) plan.placement.layers.push_back(layer.placement);
    std::ranges::sort(plan.placement.layers, {}, &LayerPlacement::layer);
    return plan;
  }

 private:
  void check_groups() {
    num_groups_ = options_.num_groups;
    if (num_groups_ == 0) {
      num_groups_ = shape_.num_experts % shape_.num_nodes == 0 ? shape_.num_nodes : 1;
    }
    if (num_groups_ < 1 || shape_.num_experts % num_groups_ != 0) {
      fail(ErrorKind::config,
           cat(num_groups_, " groups do not divide ", shape_.num_experts, " experts"));
    }
  }

  void check_previous() const {
    if (options_.previous == nullptr) return;
    const Placement& previous = *options_.previous;
    if (previous.num_slots != options_.num_slots ||
        (previous.ep_size != 0 && previous.ep_size != options_.ep_size)) {
      fail(ErrorKind::config, cat("the previous placement has ", previous.num_slots, " slots on ",
                                  previous.ep_size, " ranks, expected --num-slots ",
                                  options_.num_slots, " on --ep-size ", options_.ep_size));
    }
    for (const LayerPlacement& layer : previous.layers) check_previous_layer(layer);
  }

  void check_previous_layer(const LayerPlacement& layer) const {
    std::vector<bool> placed(shape_.num_experts, false);
    const auto refuse = [&](const std::string& why) {
      fail(ErrorKind::config, cat("layer ", layer.layer, " of the previous placement ", why));
    };
    if (static_cast<std::int64_t>(layer.expert_of_slot.size()) != options_.num_slots) {
      refuse(cat("has ", layer.expert_of_slot.size(), " slots, expected ", options_.num_slots));
    }
    for (const std::int32_t expert : layer.expert_of_slot) {
      if (expert < 0 || expert >= shape_.num_experts) {
        refuse(cat("has expert ", expert, ", expected 0 to ", shape_.num_experts - 1));
      }
      placed[expert] = true;
    }
    const auto missing = std::ranges::find(placed, false);
    if (missing != placed.end()) refuse(cat("has no slot for expert ", missing - placed.begin()));
  }

  LayerTask task_of(std::int64_t index) const {
    LayerTask task;
    task.layer = loads_.layer_index[index];
    task.shape = shape_;
    task.method = options_.method;
    task.objective = objective_;
    task.split = options_.split;
    task.choice = options_.replica_choice;
    task.num_groups = static_cast<std::int32_t>(num_groups_);
    task.seed = options_.seed;
    task.traffic_tolerance = options_.traffic_tolerance;
    const auto windows = of_layer(loads_, loads_.counts, index);
    task.loads = sum_of(windows, loads_.num_experts);
    if (objective_ == Objective::windows) task.scenarios = windows;
    if (objective_ == Objective::domains) {
      task.scenarios = of_layer(loads_, loads_.by_domain, index);
    }
    if (!loads_.choices.empty()) {
      task.choices = loads_.choices[index];
      task.home = homes_;
      task.top_k = loads_.top_k;
    }
    if (options_.previous != nullptr) {
      const auto& layers = options_.previous->layers;
      const auto found = std::ranges::find(layers, task.layer, &LayerPlacement::layer);
      if (found != layers.end()) task.previous = found->expert_of_slot;
      task.most_changed =
          static_cast<std::int64_t>(options_.max_moved * static_cast<double>(options_.num_slots));
    }
    return task;
  }

  void run_threads(std::vector<PlannedLayer>& layers) {
    const auto num_layers = static_cast<std::int64_t>(layers.size());
    const std::int64_t num_threads = std::clamp<std::int64_t>(options_.threads, 1, num_layers);
    std::vector<std::jthread> threads;
    for (std::int64_t extra = 1; extra < num_threads; ++extra) {
      threads.emplace_back([&] { work(layers); });
    }
    work(layers);
    threads.clear();  // joins them
    if (error_) std::rethrow_exception(error_);
  }

  /// Takes layers until none is left or one failed.
  void work(std::vector<PlannedLayer>& layers) {
    const auto num_layers = static_cast<std::int64_t>(layers.size());
    try {
      for (std::int64_t layer = next_++; layer < num_layers; layer = next_++) {
        layers[layer] = plan_layer(task_of(layer));
        const std::lock_guard lock(mutex_);
        ++done_;
        if (options_.progress) options_.progress(done_, num_layers);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_ = num_layers;
    }
  }

  const io::ExpertLoads& loads_;
  const PlanOptions& options_;
  Shape shape_;
  Objective objective_;
  std::vector<std::int32_t> homes_;
  std::int64_t num_groups_ = 1;

  std::atomic<std::int64_t> next_ = 0;
  std::mutex mutex_;
  std::int64_t done_ = 0;
  std::exception_ptr error_;
};

}  // namespace

std::vector<std::int32_t> homes_for(const std::vector<std::int32_t>& recorded,
                                    std::int64_t num_ranks) {
  std::vector<std::int32_t> homes;
  if (recorded.empty()) return homes;
  const std::int64_t recorded_ranks = std::int64_t{*std::ranges::max_element(recorded)} + 1;
  for (std::size_t token = 0; token < recorded.size(); ++token) {
    const std::int64_t within = static_cast<std::int64_t>(token) % num_ranks;
    homes.push_back(
        static_cast<std::int32_t>((recorded[token] * num_ranks + within) / recorded_ranks));
  }
  return homes;
}

Plan plan(const io::ExpertLoads& loads, const PlanOptions& options) {
  check_loads(loads);
  return Planner(loads, options).run();
}

const char* name_of(Objective objective) {
  switch (objective) {
    case Objective::total:
      return "total";
    case Objective::windows:
      return "windows";
    case Objective::domains:
      return "domains";
  }
  return "";
}

}  // namespace trireme::eplb
