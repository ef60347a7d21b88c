#pragma once

#include "apps/subcommands.h"

namespace trireme::apps {

/// The commands behind `bench`.
Subcommand bench_engine_subcommand();
Subcommand bench_kernels_subcommand();

}  // namespace trireme::apps
