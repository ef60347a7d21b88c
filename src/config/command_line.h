#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/yaml_loader.h"

namespace trireme::config {

/// The two commands that read a RunConfig.
enum class RunCommand { run, plan };

/// The command line of `run` or `plan`, before any file is read.
struct RunCommandLine {
  struct Setting {
    std::string key;  ///< dotted where nested
    std::string value;
    std::string origin;  ///< the flag, for messages
  };

  bool help = false;  ///< then nothing else was checked
  bool version = false;
  bool dump_config = false;
  std::string config_path;        ///< empty: none
  std::vector<Setting> settings;  ///< --set and the keys' own flags, in order: the last one wins
  std::optional<std::int64_t> world;                ///< of plan
  std::optional<std::int64_t> device_memory_bytes;  ///< of plan
};

/// Takes apart what follows the command's name. Throws Error(usage).
RunCommandLine parse_run_command_line(RunCommand command,
                                      const std::vector<std::string>& arguments);

/// The text of `trireme run --help` or `trireme plan --help`.
std::string run_help(RunCommand command);

/// The configuration: defaults, over them the text of the file (not looked at if no --config was
/// given), over it the command line. Pure, so that every rank gets the same from the same bytes.
/// Nothing but single values is checked; hand the result to require_valid().
Loaded load(const RunCommandLine& command_line, const std::string& yaml_text);

/// Throws Error(usage) that names the first of model, prompts and output that the command needs and
/// that neither file nor command line gives.
void require_paths(RunCommand command, const RunConfig& config);

}  // namespace trireme::config
