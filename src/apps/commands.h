#pragma once

#include <string>
#include <vector>

#include "job/run_job.h"

namespace trireme::apps {

/// The subcommands: each takes what follows its name, writes results to stdout and messages to
/// stderr, and returns the exit code or throws Error.
int run_command(const std::vector<std::string>& arguments);
int plan_command(const std::vector<std::string>& arguments);
int eplb_command(const std::vector<std::string>& arguments);
int bench_command(const std::vector<std::string>& arguments);
int prompts_command(const std::vector<std::string>& arguments);
int results_command(const std::vector<std::string>& arguments);

/// Version of this build.
job::BuildInfo build_info();
/// The same for --version.
std::string version_line();

}  // namespace trireme::apps
