#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/mpi_comm.h"

namespace trireme::comm {

/// The data plane of a group. Takes the group's own MPI communicator, which nothing else may use;
/// an empty one is a group of this rank alone. Collective over the group. `backend` is "mpi"; for
/// one rank also "nccl" or "peer".
/// Throws Error(config) for a backend that this build does not have.
std::unique_ptr<Communicator> make_communicator(MpiComm group, const std::string& backend);

}  // namespace trireme::comm
