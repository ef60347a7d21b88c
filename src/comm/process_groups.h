#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/mpi_comm.h"
#include "topology/topology.h"

namespace trireme::comm {

/// All groups of one rank, made once and passed by reference. Collective over `world` to make;
/// move-only. Groups that can be in flight at once have communicators of their own.
struct ProcessGroups {
  MpiComm world;     ///< of this job (a test may give a part of MPI_COMM_WORLD)
  MpiComm node;      ///< ranks on this node
  MpiComm sequence;  ///< plans: ranks of this sequence group, leader first (rank 0)
  MpiComm claims;    ///< claims: all ranks of the job
  MpiComm headers;   ///< attention DP: the leaders of this tp group; empty elsewhere

  std::unique_ptr<Communicator> tp;   ///< attention and dense layers
  std::unique_ptr<Communicator> ffn;  ///< what the experts span
  std::unique_ptr<Communicator> moe_tp;
  std::unique_ptr<Communicator> moe_ep;
  std::unique_ptr<Communicator> pp_hidden;  ///< hidden states to the next stage
  std::unique_ptr<Communicator> pp_tokens;  ///< sampled tokens back to the first stage
  std::unique_ptr<Communicator> cp;
};

/// `backend` is "mpi". Throws Error(config) for a backend that this build does not have.
ProcessGroups make_process_groups(MpiComm world, const topology::Topology& topology,
                                  const std::string& backend);

}  // namespace trireme::comm
