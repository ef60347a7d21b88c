#include "config/command_line.h"

#include <algorithm>

#include "base/error.h"
#include "config/key_table.h"
#include "config/options.h"
#include "config/value.h"

namespace trireme::config {
namespace {

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string underscored(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

bool is_nested(const Key& key) { return key.name.find('.') != std::string::npos; }

/// What stands for a key's value in the help; empty for a switch.
std::string placeholder(const Key& key) {
  if (key.name == "model" || key.name == "run_dir") return "DIR";
  if (key.topic == Topic::files && key.expected.text.find("file") != std::string::npos)
    return "FILE";
  RunConfig unused;
  const Slot slot = key.slot(unused);
  if (std::holds_alternative<bool*>(slot)) return "";
  if (std::holds_alternative<std::optional<bool>*>(slot)) return "";
  if (std::holds_alternative<std::vector<std::int64_t>*>(slot)) return "LIST";
  if (std::holds_alternative<double*>(slot) ||
      std::holds_alternative<std::optional<double>*>(slot)) {
    return "X";
  }
  if (key.expected.is_bytes) return "BYTES";
  if (std::holds_alternative<std::vector<std::string>*>(slot)) return "TEXT";
  return std::holds_alternative<std::string*>(slot) ? "NAME" : "N";
}

std::string help_of(const Key& key) {
  std::string help = key.doc;
  if (!key.expected.choices.empty()) help += cat(": ", key.expected.text);
  const bool is_switch = placeholder(key).empty() && !is_nested(key);
  if (key.default_text.empty() || (is_switch && key.default_text == "false")) return help;
  if (!is_switch) return cat(help, " (default ", key.default_text, ")");
  return cat(help, " (default; --", dashed(key.name), "=false turns it off)");
}

std::vector<Flag> own_flags(RunCommand command) {
  const std::string topic = "configuration";
  std::vector<Flag> flags = {
      {"config", "FILE", topic, "YAML file with the keys below; the command line wins over it"},
      {"set", "KEY=VALUE", topic,
       "set any key, such as kv_cache_config.tokens_per_block=32; may be given many times"},
      {"dump-config", "", topic, "print the configuration in effect as JSON and stop"},
      {"version", "", topic, "name the build and stop"},
  };
  if (command == RunCommand::plan) {
    flags.push_back(
        {"world", "N", topic, "ranks to plan for (default: as few as the parallel sizes allow)"});
    flags.push_back({"device-memory", "BYTES", topic,
                     "memory of one rank, such as 80 GiB (default: this machine's)"});
  }
  return flags;
}

Syntax run_syntax(RunCommand command) {
  Syntax syntax;
  if (command == RunCommand::run) {
    syntax.command = "run";
    syntax.summary =
        "Runs a batch of prompts through a model on all ranks of an MPI job and writes a result "
        "file. Without mpirun or srun it is one rank.";
    syntax.examples = {
        "mpirun -n 4 trireme run --model DIR --prompts p.h5 --output r.h5 --tensor-parallel-size "
        "4"};
  } else {
    syntax.command = "plan";
    syntax.summary =
        "Checks a run without GPU or MPI and prints ranks and groups, memory of each rank and room "
        "for sequences. Takes the flags of run; --prompts and --output are checked as well, and "
        "what goes to disk is told. Exits with 0 only if nothing speaks against the run.";
    syntax.examples = {
        "trireme plan --config c.yaml --model DIR --world 8 --prompts p.h5 --output r.h5",
        "trireme plan --model DIR --tensor-parallel-size 8 --device cuda --device-memory '80 GiB'"};
  }
  syntax.flags = own_flags(command);
  for (const Key& key : keys()) {
    if (is_nested(key)) continue;
    syntax.flags.push_back(
        {dashed(key.name), placeholder(key), std::string(title_of(key.topic)), help_of(key)});
  }
  return syntax;
}

RunCommandLine::Setting setting_of(const std::string& command, const Options::Given& given) {
  if (given.name != "set") return {underscored(given.name), given.value, "--" + given.name};
  const std::size_t equals = given.value.find('=');
  if (equals == 0 || equals == std::string::npos) {
    fail(ErrorKind::usage,
         cat("trireme ", command, ": --set is '", given.value, "', expected KEY=VALUE"));
  }
  return {given.value.substr(0, equals), given.value.substr(equals + 1), "--set"};
}

}  // namespace

RunCommandLine parse_run_command_line(RunCommand command,
                                      const std::vector<std::string>& arguments) {
  const Syntax syntax = run_syntax(command);
  const Options options = parse_options(syntax, arguments);
  RunCommandLine line;
  line.help = options.help();
  if (line.help) return line;
  line.version = options.has("version");
  line.dump_config = options.has("dump-config");
  line.config_path = options.value("config");
  line.world = options.whole("world", 1, std::int64_t{1} << 20);
  if (const std::string memory = options.value("device-memory"); !memory.empty()) {
    line.device_memory_bytes = parse_bytes(memory);
    if (!line.device_memory_bytes || *line.device_memory_bytes < 1) {
      fail(ErrorKind::usage, cat("trireme plan: --device-memory is '", memory,
                                 "', expected bytes or a size such as 80 GiB"));
    }
  }
  for (const Options::Given& given : options.given()) {
    if (given.name == "set" || find_key(underscored(given.name))) {
      line.settings.push_back(setting_of(syntax.command, given));
    }
  }
  return line;
}

std::string run_help(RunCommand command) {
  Syntax syntax = run_syntax(command);
  for (const Key& key : keys()) {
    if (!is_nested(key)) continue;
    const std::string value = placeholder(key);
    syntax.flags.push_back({cat("--set ", key.name, "=", value.empty() ? "BOOL" : value), "",
                            std::string(title_of(key.topic)), help_of(key)});
  }
  // Behind the command's own flags, by topic in the order of the table.
  const auto first_key =
      syntax.flags.begin() + static_cast<std::ptrdiff_t>(own_flags(command).size());
  std::vector<std::string> order;
  for (const Key& key : keys()) {
    const std::string title(title_of(key.topic));
    if (order.empty() || order.back() != title) order.push_back(title);
  }
  std::stable_sort(first_key, syntax.flags.end(), [&order](const Flag& a, const Flag& b) {
    return std::find(order.begin(), order.end(), a.topic) <
           std::find(order.begin(), order.end(), b.topic);
  });
  return help_text(syntax);
}

Loaded load(const RunCommandLine& command_line, const std::string& yaml_text) {
  Loaded loaded;
  if (!command_line.config_path.empty()) {
    apply_yaml(yaml_text, command_line.config_path, loaded);
    loaded.config.paths.config_file = command_line.config_path;
  }
  for (const RunCommandLine::Setting& setting : command_line.settings) {
    apply_setting(setting.key, setting.value, setting.origin, loaded);
  }
  return loaded;
}

void require_paths(RunCommand command, const RunConfig& config) {
  struct Needed {
    const char* name;
    const std::string& value;
  };
  std::vector<Needed> needed = {{"model", config.paths.model}};
  if (command == RunCommand::run) {
    needed.push_back({"prompts", config.paths.prompts});
    needed.push_back({"output", config.paths.output});
  }
  for (const Needed& path : needed) {
    if (!path.value.empty()) continue;
    const char* name = command == RunCommand::run ? "run" : "plan";
    fail(ErrorKind::usage, cat("trireme ", name, ": --", path.name, " is missing (or key ",
                               path.name, " in the file given by --config)"));
  }
}

}  // namespace trireme::config
