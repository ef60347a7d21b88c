#include "apps/subcommands.h"

#include <iostream>

#include "base/error.h"
#include "base/nearest.h"

namespace trireme::apps {
namespace {

std::string name_of(const std::string& group, const Subcommand& subcommand) {
  return subcommand.syntax.command.substr(group.size() + 1);
}

std::string group_help(const std::string& group, const std::string& summary,
                       const std::vector<Subcommand>& subcommands) {
  std::string text = cat("trireme ", group, ": ", summary, "\n\n");
  for (const Subcommand& subcommand : subcommands) {
    text += cat("  trireme ", subcommand.syntax.command);
    for (const std::string& argument : subcommand.syntax.arguments) text += " " + argument;
    text += cat("\n      ",
                subcommand.syntax.summary.substr(0, subcommand.syntax.summary.find(". ")), "\n");
    text += cat("      example: ", subcommand.syntax.examples.front(), "\n\n");
  }
  return text + cat("'trireme ", group, " NAME --help' tells all of one.\n");
}

}  // namespace

int run_subcommand(const std::string& group, const std::string& summary,
                   const std::vector<Subcommand>& subcommands,
                   const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::cerr << group_help(group, summary, subcommands);
    return exit_code(ErrorKind::usage);
  }
  const std::string& name = arguments.front();
  if (name == "--help" || name == "-h" || name == "help") {
    std::cout << group_help(group, summary, subcommands);
    return 0;
  }
  std::vector<std::string> names;
  for (const Subcommand& subcommand : subcommands) {
    names.push_back(name_of(group, subcommand));
    if (name != names.back()) continue;
    const config::Options options =
        config::parse_options(subcommand.syntax, {arguments.begin() + 1, arguments.end()});
    if (!options.help()) return subcommand.run(options);
    std::cout << config::help_text(subcommand.syntax);
    return 0;
  }
  const std::string nearest = nearest_name(name, names);
  std::string all;
  for (const std::string& known : names) all += (all.empty() ? "" : ", ") + known;
  fail(ErrorKind::usage,
       cat("trireme ", group, ": unknown command '", name, "'",
           nearest.empty() ? "" : cat("; did you mean '", nearest, "'?"), " There are: ", all));
}

}  // namespace trireme::apps
