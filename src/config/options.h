#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::config {

/// One `--name` of a command.
struct Flag {
  std::string name;   ///< without the dashes
  std::string value;  ///< what stands for its value in the help, such as FILE; empty: a switch;
                      ///< FILE...: the words that follow are values too
  std::string topic;  ///< heading in the help; flags of a topic stand together
  std::string help;
};

/// What a command line may hold, and the words of its --help.
struct Syntax {
  std::string command;                ///< such as "prompts import"
  std::string summary;                ///< what it does, whole sentences
  std::vector<std::string> examples;  ///< whole lines
  /// Names of the arguments without dashes, all required but the last ones in [brackets].
  std::vector<std::string> arguments;
  std::vector<Flag> flags;  ///< --help is always understood beside them
  std::string epilogue;     ///< more lines at the end of the help
};

/// A command line taken apart.
class Options {
 public:
  struct Given {
    std::string name;
    std::string value;  ///< of a switch: true or false
  };

  /// Whether --help was asked for; then nothing else was checked.
  bool help() const { return help_; }
  /// Whether a flag was given; for a switch, whether it is on.
  bool has(std::string_view name) const;
  /// The last value given; `fallback` without one.
  std::string value(std::string_view name, const std::string& fallback = {}) const;
  /// All values given, in their order.
  std::vector<std::string> values(std::string_view name) const;
  /// The value as a whole number. Throws Error(usage) if it is none or out of range.
  std::optional<std::int64_t> whole(std::string_view name, std::int64_t min,
                                    std::int64_t max) const;
  /// The argument of that place in Syntax::arguments.
  const std::string& argument(std::size_t i) const { return arguments_.at(i); }
  std::size_t num_arguments() const { return arguments_.size(); }
  /// Every flag in the order of the command line.
  const std::vector<Given>& given() const { return given_; }

 private:
  friend Options parse_options(const Syntax&, const std::vector<std::string>&);

  std::string command_;
  bool help_ = false;
  std::vector<Given> given_;
  std::vector<std::string> arguments_;
};

/// Takes apart what follows the command's name. `--name value` and `--name=value` are the same,
/// `--` ends the flags, -h is --help. Throws Error(usage) that names every unknown flag with the
/// nearest known one, a missing value, too few or too many arguments.
Options parse_options(const Syntax& syntax, const std::vector<std::string>& arguments);

/// The text of --help, with the line break at its end.
std::string help_text(const Syntax& syntax);

}  // namespace trireme::config
