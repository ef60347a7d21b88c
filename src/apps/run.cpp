#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <map>

#include "apps/commands.h"
#include "base/error.h"
#include "base/machine.h"
#include "comm/mpi_comm.h"
#include "config/command_line.h"
#include "config/dump_config.h"
#include "config/resolve.h"
#include "config/validate.h"
#include "job/agreement.h"
#include "job/run_job.h"
#include "job/signals.h"
#include "ops/cuda_context.h"
#include "topology/topology.h"

namespace trireme::apps {
namespace {

LogLevel level_of(const std::string& name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warning") return LogLevel::warning;
  if (name == "error") return LogLevel::error;
  return LogLevel::info;
}

std::string prefix_of(const comm::MpiComm& world) {
  return world.size() == 1 ? "" : cat("[rank ", world.rank(), "/", world.size(), "] ");
}

// Rank 0 reads, all get the same bytes; a status word comes first, so that nobody waits for a file
// that cannot be read.
std::string shared_config_text(const comm::MpiComm& world, const std::string& path) {
  if (path.empty()) return {};
  std::string text;
  job::Failure failure{0, {}};
  if (world.rank() == 0) {
    try {
      text = config::read_config_file(path);
    } catch (...) {
      failure = job::describe(std::current_exception());
    }
  }
  const int code = std::stoi(world.broadcast(std::to_string(failure.exit_code), 0));
  if (code != 0) {
    if (world.rank() == 0) Log({.prefix = prefix_of(world)}).error(failure.message);
    throw job::StageFailed(code);
  }
  return world.broadcast(text, 0);
}

void warn_of_spinning(const Log& log, int ranks_on_node, int cores) {
  const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle");
  if (ranks_on_node <= cores || (yields != nullptr && std::string(yields) == "1")) return;
  log.warning(cat(ranks_on_node, " ranks share ", cores,
                  " core(s) and waiting ranks do not yield: start with tools/launch.sh, or give "
                  "mpirun --oversubscribe --mca mpi_yield_when_idle 1"));
}

// A job that falls apart into worlds of one has a rank 0 in each of them; one word is enough.
void require_one_world(const comm::MpiComm& world, const Log& log) {
  const std::map<std::string, std::string> environment = config::launcher_environment();
  const auto fault = config::launcher_fault(environment, world.size());
  if (!fault) return;
  if (world.rank() == 0 && config::is_first_process(environment)) log.error(fault->message);
  throw job::StageFailed(exit_code(ErrorKind::config));
}

int run_in_world(const std::vector<std::string>& arguments, const comm::MpiComm& world) {
  const comm::MpiComm node = world.split_by_node();
  const Log early({.is_rank_0 = world.rank() == 0, .prefix = prefix_of(world)});
  require_one_world(world, early);
  config::RunCommandLine command_line;
  job::together(world, early, [&] {
    command_line = config::parse_run_command_line(config::RunCommand::run, arguments);
  });
  const std::string yaml = shared_config_text(world, command_line.config_path);

  const int cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  config::Surroundings surroundings{.world = world.size(),
                                    .ranks_on_node = node.size(),
                                    .cores_on_node = cores,
                                    .has_gpu = tensor::has_gpu(),
                                    .must_run = true};
  config::RunConfig run_config;
  config::ParallelSizes given;
  job::together(world, early, [&] {
    const config::Loaded loaded = config::load(command_line, yaml);
    config::require_valid(loaded, surroundings);
    if (!command_line.dump_config) {
      config::require_paths(config::RunCommand::run, loaded.config);
    }
    for (const std::string& warning : loaded.warnings) early.warning(warning);
    given = loaded.config.parallel;
    run_config = config::resolve(loaded.config, surroundings);
    run_config.limits.threads_per_rank =
        std::min<std::int64_t>(run_config.limits.threads_per_rank, usable_cores());
  });
  if (command_line.dump_config) {
    if (world.rank() == 0) std::cout << config::dump_config_text(run_config) << "\n";
    return 0;
  }
  const Log log({.level = level_of(run_config.log_level),
                 .all_ranks = run_config.log_all_ranks,
                 .is_rank_0 = world.rank() == 0,
                 .prefix = prefix_of(world)});
  warn_of_spinning(log, node.size(), cores);
  const topology::Topology topology(topology::sizes_from(config::resolved_parallel(run_config)));
  return job::run_job(run_config, topology, world, node, log, build_info(), given);
}

}  // namespace

int run_command(const std::vector<std::string>& arguments) {
  job::install_stop_signals();  // before MPI: SIGUSR1 would kill a rank that is still starting
  // Neither help nor version needs MPI.
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::cout << config::run_help(config::RunCommand::run);
      return 0;
    }
    if (argument == "--version") {
      std::cout << version_line() << "\n";
      return 0;
    }
  }
  int argc = 0;
  char** argv = nullptr;
  const comm::MpiEnvironment environment(&argc, &argv);
  const comm::MpiComm world = comm::MpiComm::world();
  try {
    return run_in_world(arguments, world);
  } catch (const job::StageFailed& failed) {
    return failed.exit_code();
  } catch (...) {
    // Where no agreement is possible, the rank that knows says it and ends everybody.
    const job::Failure failure = job::describe(std::current_exception());
    Log({.prefix = prefix_of(world)}).error(failure.message);
    world.abort(failure.exit_code);
  }
}

}  // namespace trireme::apps
