#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace trireme::checkpoint {

/// parse_json for the files of a checkpoint: an object, and faults are Error(checkpoint).
Json parse_object(std::string_view text, const std::string& what, const JsonLimits& limits = {});

/// The same of a whole file of at most 16 MiB. Throws Error(missing) too.
Json read_json_object(const std::string& path);

}  // namespace trireme::checkpoint
