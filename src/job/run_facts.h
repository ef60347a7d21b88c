#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "job/run_job.h"
#include "job/run_model.h"

/// What follows from a run's configuration and files, without doing anything.
namespace trireme::job {

/// The engine's options, with what the model has decided.
engine::EngineOptions engine_options(const config::RunConfig& config,
                                     const topology::Topology& topology, const RunTerms& terms,
                                     const RunModel& model);

/// Hashes that tell one run's inputs from another's, by name.
using RunIdentity = std::vector<std::pair<std::string, std::string>>;

/// What a result file says of the run that made it.
Json result_attributes(const config::RunConfig& config, const RunFiles& files,
                       const topology::Topology& topology, const RunTerms& terms,
                       const BuildInfo& build, const RunIdentity& parts);

/// A GPU's memory as planned and as taken, for the log.
std::string gpu_memory_text(const RunModel& model);

}  // namespace trireme::job
