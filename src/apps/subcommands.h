#pragma once

#include <string>
#include <vector>

#include "config/options.h"

namespace trireme::apps {

/// One of the commands behind a command, such as `import` of `prompts`.
struct Subcommand {
  config::Syntax syntax;  ///< its command is "GROUP NAME"
  int (*run)(const config::Options& options);
};

/// Runs the subcommand that the first argument names. --help prints to stdout; without an argument
/// the same goes to stderr. Throws Error(usage) for an unknown name, with the nearest.
int run_subcommand(const std::string& group, const std::string& summary,
                   const std::vector<Subcommand>& subcommands,
                   const std::vector<std::string>& arguments);

}  // namespace trireme::apps
