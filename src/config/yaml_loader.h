#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/faults.h"
#include "config/run_config.h"
#include "config/yaml_tree.h"

namespace trireme::config {

/// What was read and found while a configuration was put together.
struct Loaded {
  RunConfig config;
  std::vector<Fault> faults;          ///< every bad key; its place in `config` kept the old value
  std::vector<std::string> warnings;  ///< keys of other programs that mean nothing here
};

/// The bytes of a configuration file. Throws Error(missing) if it cannot be read, Error(config) if
/// it is longer than kMaxYamlBytes.
std::string read_config_file(const std::string& path);

/// Puts the keys of a YAML text over `loaded.config`. `name` stands in the messages for the text.
/// Throws Error(config) only where the text is no map within the limits of parse_yaml; all other
/// faults (unknown and duplicate keys, wrong types, values out of range) are added to the list.
void apply_yaml(std::string_view text, const std::string& name, Loaded& loaded);

/// Puts one `key=value` of the command line over `loaded.config`; `key` is dotted where nested. A
/// list is written as `3,2` or `[3, 2]`. `origin` (such as "--set") stands in the messages.
void apply_setting(const std::string& key, const std::string& value, const std::string& origin,
                   Loaded& loaded);

}  // namespace trireme::config
