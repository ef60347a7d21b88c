#pragma once

#include <cstdint>
#include <string>

#include "apps/subcommands.h"
#include "config/options.h"

namespace trireme::apps {

/// The commands behind `eplb`.
Subcommand eplb_plan_subcommand();
Subcommand eplb_show_subcommand();
Subcommand eplb_convert_subcommand();

/// Most ranks and nodes that the flags take.
inline constexpr std::int64_t kMostRanks = std::int64_t{1} << 20;

/// --first-layer: the model's number of the first row of formats that do not say; 0 if not given.
config::Flag first_layer_flag();
std::int32_t first_layer_of(const config::Options& options);

/// Throws Error(output) if the file is there without --overwrite or is no regular one, or its
/// folder is not there.
void check_new_file(const std::string& path, bool overwrite);

}  // namespace trireme::apps
