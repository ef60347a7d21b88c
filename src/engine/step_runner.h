#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/expert_counter.h"
#include "engine/kv_cache.h"
#include "engine/scheduler.h"
#include "engine/step_plan.h"
#include "models/model.h"

namespace trireme::engine {

/// What a step runner works with; everything outlives it.
struct RunnerParts {
  models::CausalLm& model;
  layers::ForwardContext& context;
  KvCache& kv_cache;
  const topology::Topology& topology;
  int rank = 0;
  std::int64_t hidden_size = 0, vocab_size = 0;
  std::int64_t tokens_per_block = 16;
  std::int64_t max_batch_size = 64, max_num_tokens = 2048, max_seq_len = 0;
  bool keeps_choices = false;  ///< the experts that each token chose, beside their counts
  std::function<void()> idle;  ///< called while waiting
};

/// Executes plans on one rank: its stage's layers, the transfers to its neighbours, sampling on the
/// last stage. All ranks of a group execute the same plans in the same order (DESIGN section 5, "A
/// step on one rank").
class StepRunner {
 public:
  virtual ~StepRunner() = default;

  /// Executes one step, or with a plan without rows only what it says of steps before. Collective
  /// over the stage's tp and ffn groups; sends do not block, and on a GPU nothing does.
  virtual void launch(const StepPlan& plan) = 0;

  /// First stage: the results of the lane's oldest step that were not read yet, one per row; waits
  /// for them. Complete on the leader; the others see tokens only.
  virtual std::vector<RowResult> read(int lane) = 0;

  /// Waits for what is still under way.
  virtual void finish() = 0;

  /// What this rank counted so far; nothing where another rank counts the same tokens.
  virtual const ExpertLoadCounts& expert_counts() const = 0;

  virtual double forward_seconds() const = 0;
  virtual double sample_seconds() const = 0;  ///< of the host: a GPU draws tokens itself
};

/// Of CUDA builds.
std::unique_ptr<StepRunner> make_cuda_runner(const RunnerParts& parts);
/// The runner of the device that the context computes on.
std::unique_ptr<StepRunner> make_step_runner(const RunnerParts& parts);

}  // namespace trireme::engine
