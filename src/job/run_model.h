#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "comm/process_groups.h"
#include "job/run_files.h"
#include "models/memory_plan.h"
#include "models/model.h"
#include "ops/context.h"
#include "topology/topology.h"

namespace trireme::job {

/// What all ranks of a job have agreed on.
struct RunTerms {
  std::string run_id;
  std::int64_t unix_time = 0;
  kernels::cpu::InstructionSet instruction_set = kernels::cpu::InstructionSet::generic;
  int num_threads = 1;
  std::int64_t max_seq_len = 0;
  std::vector<std::string> hosts;  ///< by rank
};

/// A rank's part of the model with what it computes with: groups, context, weights.
class RunModel {
 public:
  /// Builds the groups and loads the weights. Collective over the world. Throws StageFailed.
  RunModel(const config::RunConfig& config, const RunFiles& files, const RunTerms& terms,
           const topology::Topology& topology, const comm::MpiComm& world,
           const comm::MpiComm& node, const Log& log);

  const comm::ProcessGroups& groups() const { return groups_; }
  layers::ForwardContext& context() { return *context_; }
  models::CausalLm& model() { return *model_; }

  /// Where and in what the model computes.
  bool is_on_gpu() const { return ops_->is_on_gpu(); }
  DType activation_dtype() const { return ops_->activation_dtype; }
  /// GPU: what was planned before anything was allocated.
  const models::MemoryPlan& memory_plan() const { return memory_plan_; }
  /// GPU: bytes that have been allocated since.
  std::int64_t allocated_gpu_bytes() const;

 private:
  void plan_memory(const config::RunConfig& config, const RunFiles& files,
                   const topology::Topology& topology, int rank);
  void make_context(const config::RunConfig& config, const RunFiles& files, const RunTerms& terms,
                    const topology::Topology& topology);

  std::int64_t free_gpu_bytes_ = 0;  ///< at first
  models::MemoryPlan memory_plan_;
  comm::ProcessGroups groups_;
  std::unique_ptr<ops::Context> ops_;
  std::unique_ptr<layers::ForwardContext> context_;
  std::unique_ptr<models::CausalLm> model_;
};

}  // namespace trireme::job
