#include "config/validate.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include "base/error.h"
#include "config/key_table.h"
#include "config/value.h"

namespace trireme::config {
namespace {

using Names = std::array<const char*, 3>;
constexpr Names kLauncherVariables = {"SLURM_STEP_NUM_TASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"};

constexpr Names kRankVariables = {"SLURM_PROCID", "PMI_RANK", "OMPI_COMM_WORLD_RANK"};

class Validator {
 public:
  Validator(const RunConfig& config, const Surroundings& surroundings)
      : config_(config), surroundings_(surroundings) {}

  std::vector<Fault> run() {
    single_values([](const Key&) { return true; });
    context_parallelism();
    world_size();
    expert_sizes();
    pipeline_layers();
    step_limits();
    devices();
    recording();
    sampling();
    return std::move(faults_);
  }

  std::vector<Fault> run_sampling() {
    single_values([](const Key& key) { return key.topic == Topic::sampling; });
    sampling();
    return std::move(faults_);
  }

 private:
  /// Adds a fault about the first key unless the rule holds or one of its keys is at fault already.
  template <typename Expectation>
  void rule(const std::vector<std::string>& names, bool holds, Expectation expectation) {
    const bool known = std::any_of(names.begin(), names.end(),
                                   [this](const auto& name) { return bad_.contains(name); });
    if (known || holds) return;
    faults_.push_back({names, cat(names[0], " is ", value_text(*find_key(names[0]), config_),
                                  ", expected ", expectation())});
  }

  bool sizes_in_range() const {
    return std::none_of(bad_.begin(), bad_.end(), [](const std::string& name) {
      return name.find("parallel_size") != std::string::npos || name == "cp_config.cp_type";
    });
  }

  /// Rules 2, 10 (cp_type), 12, 13 (names), 15: each value by itself.
  void single_values(bool (*is_asked)(const Key&)) {
    for (const Key& key : keys()) {
      if (!is_asked(key)) continue;
      if (std::optional<std::string> wrong = complaint(key, config_)) {
        faults_.push_back({{key.name}, *wrong});
        bad_.insert(key.name);
      }
    }
  }

  /// Rule 10.
  void context_parallelism() {
    rule({"context_parallel_size"}, config_.parallel.context_parallel_size == 1,
         [] { return "1: context parallelism is not in this build yet"; });
  }

  /// Rule 1.
  void world_size() {
    if (!sizes_in_range()) return;
    const ParallelSizes& sizes = config_.parallel;
    const std::int64_t world = surroundings_.world;
    const std::int64_t product = smallest_world(sizes);
    const bool fits = sizes.data_parallel_size == 0 ? world % product == 0 : world == product;
    const std::string ranks = cat(world, world == 1 ? " rank" : " ranks");
    if (fits) return;
    const bool open = sizes.data_parallel_size == 0;
    faults_.push_back(
        {{"tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size",
          "data_parallel_size"},
         cat("tensor_parallel_size ", sizes.tensor_parallel_size, " x pipeline_parallel_size ",
             sizes.pipeline_parallel_size, " x context_parallel_size ", sizes.context_parallel_size,
             open ? "" : cat(" x data_parallel_size ", sizes.data_parallel_size), " is ", product,
             ", expected ", open ? "a divisor of " : "", "the job's ", ranks)});
  }

  /// Rule 3.
  void expert_sizes() {
    if (!sizes_in_range() || moe_sizes(config_.parallel)) return;
    const ParallelSizes& sizes = config_.parallel;
    const bool helix = sizes.cp_type == "helix";
    const std::string whole =
        cat(helix ? "tensor_parallel_size x context_parallel_size " : "tensor_parallel_size ",
            ffn_size(sizes));
    const std::int64_t tp = sizes.moe_tensor_parallel_size;
    const std::int64_t ep = sizes.moe_expert_parallel_size;
    Fault fault{{"moe_tensor_parallel_size", "moe_expert_parallel_size", "tensor_parallel_size"},
                ""};
    if (tp != 0 && ep != 0) {
      fault.message = cat("moe_tensor_parallel_size ", tp, " x moe_expert_parallel_size ", ep,
                          " is ", tp * ep, ", expected ", whole);
    } else {
      fault.message = cat(tp != 0 ? "moe_tensor_parallel_size" : "moe_expert_parallel_size", " is ",
                          tp + ep, ", expected a divisor of ", whole);
    }
    faults_.push_back(std::move(fault));
  }

  /// Rule 9, without the number of layers.
  void pipeline_layers() {
    const ParallelSizes& sizes = config_.parallel;
    const std::vector<std::int64_t>& layers = sizes.pipeline_layers;
    rule({"pipeline_layers", "pipeline_parallel_size"},
         layers.empty() || static_cast<std::int64_t>(layers.size()) == sizes.pipeline_parallel_size,
         [&] {
           return cat("an entry for each stage, and pipeline_parallel_size is ",
                      sizes.pipeline_parallel_size);
         });
  }

  /// Rule 11, without the model's positions. Defaults take part: what is not given has a value.
  void step_limits() {
    const EngineLimits& limits = config_.limits;
    const bool on_cpu = resolved_device(config_, surroundings_) == "cpu";
    const auto value_or = [](std::int64_t given, std::int64_t otherwise) {
      return given == 0 ? otherwise : given;
    };
    const std::int64_t batch = value_or(limits.max_batch_size, on_cpu ? 64 : 1024);
    const std::int64_t tokens = value_or(limits.max_num_tokens, on_cpu ? 2048 : 8192);
    const std::string why = limits.max_num_tokens == 0 ? cat(" (the default is ", tokens, ")") : "";
    rule({"max_num_tokens", "max_batch_size", "device"}, tokens >= batch, [&] {
      return cat("at least max_batch_size, which is ", batch,
                 limits.max_batch_size == 0 ? " by default" : "", why);
    });
    rule({"max_num_tokens", "max_seq_len", "device", "enable_chunked_prefill"},
         limits.enable_chunked_prefill || tokens >= limits.max_seq_len, [&] {
           return cat("at least max_seq_len, which is ", limits.max_seq_len,
                      ", while enable_chunked_prefill is false", why);
         });
  }

  /// Rule 13.
  void devices() {
    const std::string device = resolved_device(config_, surroundings_);
    rule({"comm", "device"}, device == "cuda" || config_.comm == "auto" || config_.comm == "mpi",
         [&] { return cat("mpi, since device is ", device); });
    rule({"device"}, !surroundings_.must_run || device == "cpu" || surroundings_.has_gpu,
         [] { return "cpu, since this build or this machine has no GPU (--device cpu)"; });
    const ParallelSizes& sizes = config_.parallel;
    rule({"tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size", "device"},
         !surroundings_.must_run || device == "cpu" ||
             (sizes.tensor_parallel_size == 1 && sizes.pipeline_parallel_size == 1 &&
              sizes.context_parallel_size == 1),
         [] {
           return "1 on cuda: a replica computes on one GPU, and data_parallel_size takes more";
         });
  }

  /// Rule 15, as far as two values must fit each other.
  void sampling() {
    const SamplingDefaults& sampling = config_.sampling;
    if (!sampling.min_tokens || !sampling.max_tokens) return;
    rule({"min_tokens", "max_tokens"}, *sampling.min_tokens <= *sampling.max_tokens,
         [&] { return cat("at most max_tokens, which is ", *sampling.max_tokens); });
  }

  void recording() {
    rule({"record_choices", "record_loads"},
         !config_.paths.record_choices || config_.paths.record_loads != "none",
         [] { return "false, since record_loads is none and choices stand in its file"; });
  }

  const RunConfig& config_;
  const Surroundings surroundings_;
  std::set<std::string> bad_;
  std::vector<Fault> faults_;
};

}  // namespace

std::vector<Fault> validate(const RunConfig& config, const Surroundings& surroundings) {
  return Validator(config, surroundings).run();
}

std::vector<Fault> sampling_faults(const SamplingDefaults& sampling) {
  RunConfig config;
  config.sampling = sampling;
  return Validator(config, {}).run_sampling();
}

void require_valid(const Loaded& loaded, const Surroundings& surroundings) {
  std::vector<Fault> faults = loaded.faults;
  std::set<std::string> at_fault;
  for (const Fault& fault : loaded.faults) at_fault.insert(fault.keys.begin(), fault.keys.end());
  for (Fault& fault : validate(loaded.config, surroundings)) {
    const bool known = std::any_of(fault.keys.begin(), fault.keys.end(),
                                   [&](const auto& key) { return at_fault.contains(key); });
    if (!known) faults.push_back(std::move(fault));
  }
  require_none(faults);
}

std::optional<Fault> launcher_fault(const std::map<std::string, std::string>& environment,
                                    int world) {
  for (const char* name : kLauncherVariables) {
    const auto found = environment.find(name);
    const std::optional<std::int64_t> announced =
        found == environment.end() ? std::nullopt : parse_whole(found->second);
    if (!announced || *announced <= world) continue;
    return Fault{
        {name},
        cat(name, " is ", *announced, ", but MPI has ", world, world == 1 ? " rank" : " ranks",
            ", expected equal: the launcher and MPI do not work together; start with "
            "srun --mpi=pmix, or with mpirun")};
  }
  return std::nullopt;
}

bool is_first_process(const std::map<std::string, std::string>& environment) {
  return std::ranges::all_of(kRankVariables, [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() || parse_whole(found->second).value_or(0) == 0;
  });
}

std::map<std::string, std::string> launcher_environment() {
  std::map<std::string, std::string> environment;
  for (const Names& names : {kLauncherVariables, kRankVariables}) {
    for (const char* name : names) {
      if (const char* value = std::getenv(name)) environment.emplace(name, value);
    }
  }
  return environment;
}

}  // namespace trireme::config
