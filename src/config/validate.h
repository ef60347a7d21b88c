#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/faults.h"
#include "config/resolve.h"
#include "config/run_config.h"
#include "config/yaml_loader.h"

namespace trireme::config {

/// The rules that need no model (1, 2, 3, parts of 9 to 13, 15): everything that cannot work, each
/// with key, value and what was expected. The rules that need the model are checked where models
/// are.
std::vector<Fault> validate(const RunConfig& config, const Surroundings& surroundings);

/// The part of validate() about sampling (rule 15), for values from wherever.
std::vector<Fault> sampling_faults(const SamplingDefaults& sampling);

/// Throws Error(config) that lists what loading found and what validate() finds, a rule only if
/// none of its keys was at fault before.
void require_valid(const Loaded& loaded, const Surroundings& surroundings);

/// Rule 20: the launcher's environment announces more ranks than MPI's world has, so that every
/// process is a job of its own.
std::optional<Fault> launcher_fault(const std::map<std::string, std::string>& environment,
                                    int world);

/// Whether the launcher calls this process its first; only that one speaks for all of the worlds
/// of one. True if the launcher does not number them.
bool is_first_process(const std::map<std::string, std::string>& environment);

/// The part of this process's environment that the functions above look at.
std::map<std::string, std::string> launcher_environment();

}  // namespace trireme::config
