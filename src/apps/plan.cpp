#include <iostream>
#include <set>

#include "apps/commands.h"
#include "apps/machine.h"
#include "base/error.h"
#include "config/command_line.h"
#include "config/dump_config.h"
#include "config/resolve.h"
#include "config/validate.h"
#include "job/progress.h"
#include "models/layout_check.h"
#include "models/memory_plan.h"
#include "topology/topology_table.h"

namespace trireme::apps {
namespace {

// Ranks of one pipeline stage hold the same amounts.
std::string memory_table(const models::MemoryInputs& inputs, const topology::Topology& topology) {
  std::string text =
      "memory of a rank:\n  stage   weights        KV memory      workspace      in all\n";
  for (int stage = 0; stage < inputs.sizes.pp; ++stage) {
    const auto at = topology.coordinates(topology.rank_of(0, stage, 0, 0));
    const models::MemoryPlan plan = models::plan_memory(inputs, at);
    const auto column = [](std::int64_t bytes) {
      const std::string word = job::bytes_text(static_cast<double>(bytes));
      return word + std::string(15 - std::min<std::size_t>(14, word.size()), ' ');
    };
    text += cat("  ", stage, std::string(8 - std::to_string(stage).size(), ' '),
                column(plan.weight_bytes), column(plan.kv_bytes), column(plan.workspace_bytes),
                job::bytes_text(static_cast<double>(plan.total_bytes())), "\n");
  }
  return text;
}

}  // namespace

int plan_command(const std::vector<std::string>& arguments) {
  const config::RunCommandLine command_line =
      config::parse_run_command_line(config::RunCommand::plan, arguments);
  if (command_line.help) {
    std::cout << config::run_help(config::RunCommand::plan);
    return 0;
  }
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
  const config::RunConfig run_config = config::resolve(loaded.config, surroundings);
  if (command_line.dump_config) {
    std::cout << config::dump_config_text(run_config) << "\n";
    return 0;
  }

  const topology::Topology topology(topology::sizes_from(config::resolved_parallel(run_config)));
  const auto model = checkpoint::load_model_config(run_config.paths.model);
  config::require_none(
      models::check_layout(model, run_config, topology.sizes(), &loaded.config.parallel));
  const auto checkpoint = checkpoint::Checkpoint::open(run_config.paths.model);
  const models::MemoryInputs inputs{
      .checkpoint = checkpoint,
      .model = model,
      .config = run_config,
      .sizes = topology.sizes(),
      .device_memory_bytes = command_line.device_memory_bytes.value_or(
          memory_bytes() / std::max<std::int64_t>(1, world))};
  config::require_none(models::check_memory(inputs));
  std::cout << "model: " << model.architecture << ", " << model.num_layers << " layers, "
            << job::bytes_text(static_cast<double>(checkpoint.file_bytes())) << " of weights\n"
            << topology::topology_table(topology) << "\n"
            << memory_table(inputs, topology) << "batch of a sequence group: at most "
            << run_config.limits.max_batch_size << " sequences and "
            << run_config.limits.max_num_tokens << " tokens a step\n";
  return 0;
}

}  // namespace trireme::apps
