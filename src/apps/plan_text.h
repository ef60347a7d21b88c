#pragma once

#include <cstdint>
#include <string>

#include "config/run_config.h"
#include "job/run_files.h"
#include "models/memory_plan.h"
#include "topology/topology.h"

namespace trireme::apps {

/// The sections of what `trireme plan` prints, each with the line break at its end.

/// Model, device and types.
std::string model_text(const job::RunFiles& files, const config::RunConfig& config);
/// Weights, KV memory and workspace of a rank of each pipeline stage, then the sequences that KV
/// memory holds and the steps of a sequence group.
std::string memory_text(const models::MemoryInputs& inputs, const topology::Topology& topology);
/// The prompt file, and what journals and results will need on disk.
std::string prompts_text(const job::RunFiles& files, const config::RunConfig& config,
                         std::uint64_t disk_bytes);

}  // namespace trireme::apps
