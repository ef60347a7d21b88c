#pragma once

#include <string>

#include "base/json.h"
#include "config/run_config.h"

namespace trireme::config {

/// Every key with its value, nested as in YAML; a value that is not given stands as its word, such
/// as "auto". Since JSON is YAML, the text is a configuration file that gives the same RunConfig.
Json dump_config(const RunConfig& config);

/// The same as indented text; bytes of a path that are no UTF-8 are replaced.
std::string dump_config_text(const RunConfig& config);

}  // namespace trireme::config
