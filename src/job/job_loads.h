#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "comm/mpi_comm.h"
#include "engine/expert_counter.h"
#include "io/expert_loads.h"
#include "topology/topology.h"

namespace trireme::job {

/// What all ranks of a job counted of the experts.
struct JobLoads {
  io::ExpertLoads loads;
  std::int64_t ep_size = 1;
  std::vector<std::int64_t> by_rank;            ///< [layers, ep_size] assignments computed
  std::vector<std::int64_t> by_domain_by_rank;  ///< [domains, layers, ep_size]
  bool are_choices_cut = false;                 ///< more tokens than are kept
};

/// What a rank brings to the counts of the job.
struct LoadParts {
  const engine::ExpertLoadCounts& counts;
  const std::map<std::uint64_t, std::string>& domain_names;  ///< of leaders; else empty
  const checkpoint::ModelConfig& model;
  const topology::Topology& topology;
  bool has_choices = false;
};

/// The counts of all ranks as one. Windows are brought to one length; of more domains than a file
/// holds, those with the most tokens stay and the rest is one. Collective over the world; complete
/// at rank 0, where the choices of single tokens are as well.
JobLoads gather_loads(const comm::MpiComm& world, const LoadParts& parts);

/// The MoE layers of a model.
std::vector<std::int32_t> moe_layers_of(const checkpoint::ModelConfig& model);

}  // namespace trireme::job
