#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "comm/mpi_comm.h"
#include "config/run_config.h"
#include "topology/topology.h"

namespace trireme::job {

/// What the program calls itself in results and reports.
struct BuildInfo {
  std::string version, git;
};

/// One run from a checked configuration to the result file. Collective over `world`; every rank
/// returns the same exit code (0; 10 with `strict` and failed rows; kExitStopped after a stop).
/// `given`: the parallel sizes as the user wrote them, for the messages.
/// Throws StageFailed if a stage of the start failed; its message is printed then.
int run_job(const config::RunConfig& config, const topology::Topology& topology,
            const comm::MpiComm& world, const comm::MpiComm& node, const Log& log,
            const BuildInfo& build, const config::ParallelSizes& given);

}  // namespace trireme::job
