#include <algorithm>
#include <iostream>
#include <map>

#include "apps/commands.h"
#include "apps/plan_text.h"
#include "base/error.h"
#include "base/machine.h"
#include "config/command_line.h"
#include "config/dump_config.h"
#include "config/resolve.h"
#include "config/validate.h"
#include "io/disk_space.h"
#include "job/outputs.h"
#include "job/progress.h"
#include "job/run_files.h"
#include "models/layout_check.h"
#include "models/memory_plan.h"
#include "topology/topology_table.h"

namespace trireme::apps {
namespace {

/// Rule 20: whoever starts a plan as several ranks has something else in mind.
bool is_started_as_ranks() {
  const std::map<std::string, std::string> environment = config::launcher_environment();
  const auto fault = config::launcher_fault(environment, 1);
  if (!fault) return false;
  if (config::is_first_process(environment)) {
    std::cerr << "trireme: " << fault->keys.front() << " is " << environment.at(fault->keys.front())
              << ", expected 1 or none: plan is one process, started without mpirun or srun; "
                 "--world N plans for N ranks\n";
  }
  return true;
}

/// Memory of a rank where nothing else is said: its share of this machine; 0 = not known.
std::int64_t device_memory(const config::RunCommandLine& command_line,
                           const config::RunConfig& config, std::int64_t world) {
  if (command_line.device_memory_bytes) return *command_line.device_memory_bytes;
  return config.device == "cpu" ? memory_bytes() / world : 0;
}

/// Rules 12 and 14. A machine that is not the job's is a guess, and the message must say so.
void require_memory(const models::MemoryInputs& inputs, bool is_guess) {
  std::vector<config::Fault> faults = models::check_memory(inputs);
  for (config::Fault& fault : faults) {
    if (!is_guess || fault.keys.front() != "device_memory") continue;
    fault.message += cat("; this is a share of this machine's memory, split over ",
                         inputs.sizes.world(), " rank(s): --device-memory tells that of the job's");
  }
  config::require_none(faults);
}

void print_plan(const config::RunCommandLine& command_line, const config::RunConfig& config,
                const config::ParallelSizes& given) {
  const topology::Topology topology(topology::sizes_from(config::resolved_parallel(config)));
  job::RunFiles files = job::open_run_files(config, job::PromptUse::checked_rows);
  files.checkpoint = checkpoint::Checkpoint::open(config.paths.model);
  for (const std::string& warning : files.warnings) std::cerr << "warning: " << warning << "\n";
  config::require_none(models::check_layout(files.model, config, topology.sizes(), &given));
  job::check_placement(files, config, topology.sizes());
  const models::MemoryInputs inputs{
      .checkpoint = files.checkpoint,
      .model = files.model,
      .config = config,
      .sizes = topology.sizes(),
      .placement = files.placement ? &*files.placement : nullptr,
      .device_memory_bytes = device_memory(command_line, config, topology.sizes().world())};
  require_memory(inputs, !command_line.device_memory_bytes);
  std::uint64_t disk_bytes = 0;
  if (files.prompts) {
    disk_bytes = job::disk_space_needed(files, models::max_seq_len_of(files.model, config));
  }
  if (!config.paths.output.empty()) {
    job::check_outputs(config, files.model);
    io::check_disk_space(config.paths.output, disk_bytes);
  }

  std::cout << model_text(files, config) << "\n"
            << topology::topology_table(topology) << "\n\n"
            << memory_text(inputs, topology);
  if (files.prompts) std::cout << "\n" << prompts_text(files, config, disk_bytes);
  std::cout << "\nNothing speaks against this run. To start it: tools/launch.sh -n "
            << topology.sizes().world() << " trireme run, with the same flags\n";
}

}  // namespace

int plan_command(const std::vector<std::string>& arguments) {
  const config::RunCommandLine command_line =
      config::parse_run_command_line(config::RunCommand::plan, arguments);
  if (command_line.help || command_line.version) {
    std::cout << (command_line.help ? config::run_help(config::RunCommand::plan)
                                    : version_line() + "\n");
    return 0;
  }
  if (is_started_as_ranks()) return exit_code(ErrorKind::config);
  const std::string yaml = command_line.config_path.empty()
                               ? std::string()
                               : config::read_config_file(command_line.config_path);
  const config::Loaded loaded = config::load(command_line, yaml);
  const auto world = command_line.world.value_or(config::smallest_world(loaded.config.parallel));
  const config::Surroundings surroundings{
      .world = world, .ranks_on_node = static_cast<int>(world), .cores_on_node = usable_cores()};
  config::require_valid(loaded, surroundings);
  if (!command_line.dump_config) config::require_paths(config::RunCommand::plan, loaded.config);
  for (const std::string& warning : loaded.warnings) std::cerr << "warning: " << warning << "\n";
  const config::RunConfig config = config::resolve(loaded.config, surroundings);
  if (command_line.dump_config) {
    std::cout << config::dump_config_text(config) << "\n";
  } else {
    print_plan(command_line, config, loaded.config.parallel);
  }
  return 0;
}

}  // namespace trireme::apps
