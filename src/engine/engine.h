#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/plan_channel.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/step_runner.h"

namespace trireme::engine {

/// What the engine is told, all defaults resolved.
struct EngineOptions {
  SchedulerLimits limits;
  KvOptions kv;
  bool enable_block_reuse = true;
  std::int64_t plan_ahead = 1;
  std::uint64_t reuse_seed = 0;  ///< of the block hashes; names run and model
  bool keeps_choices = false;    ///< the experts that each token chose, beside their counts
};

/// Counters of one group, read by its leader at any time.
struct EngineStats {
  std::int64_t num_steps = 0;
  std::int64_t prompt_tokens = 0, output_tokens = 0;  ///< prompt tokens as computed, without reuse
  std::int64_t reused_tokens = 0;
  std::int64_t num_preemptions = 0;
  std::int64_t num_running = 0, num_waiting = 0;
  double kv_use = 0;
  /// On a GPU forward is launching, nothing is sampled here, and what is computed is waited for.
  double plan_seconds = 0, forward_seconds = 0, sample_seconds = 0, idle_seconds = 0;
  bool is_on_gpu = false;
};

/// What an engine works with; everything outlives it.
struct EngineParts {
  const topology::Topology& topology;
  int rank = 0;
  const comm::ProcessGroups& groups;
  models::CausalLm& model;
  layers::ForwardContext& context;
  std::int64_t hidden_size = 0, vocab_size = 0;
  TextRules rules;
  RequestSource* source = nullptr;  ///< leaders
  ResultSink* sink = nullptr;       ///< leaders
  std::function<void()> poll;       ///< moves host messages on; called at least once a layer
  std::function<bool()> stop_requested;
  std::function<void(const EngineStats&)> on_step;  ///< leaders, after every step
};

/// Runs the sequences of one group: the leader decides and plans, all members execute.
class Engine {
 public:
  /// Collective over the sequence group: agrees on the KV capacity and allocates the KV memory.
  Engine(const EngineOptions& options, EngineParts parts);
  ~Engine();

  /// Works until the source is exhausted or a stop is requested; false if it was stopped with work
  /// left. Collective over the sequence group, under attention DP over the replica.
  bool run();

  const KvCache& kv_cache() const { return *kv_cache_; }
  /// Sequences of max_seq_len that the KV memory holds.
  double kv_sequences() const { return static_cast<double>(kv_capacity_) / 1024.0; }
  EngineStats stats() const;
  /// What this rank counted of its stage's experts; complete when run() has returned.
  const ExpertLoadCounts& expert_counts() const { return runner_->expert_counts(); }

 private:
  /// What the leaders of a tp group tell each other before each step (attention DP). 32 bytes.
  struct StepHeader {
    std::int32_t num_tokens = 0;
    std::int32_t has_work = 0;
    std::int32_t stop = 0;
    std::int32_t placement_version = 0;
    std::int32_t reserved[4] = {};
  };
  struct Agreement {
    bool is_done = false, is_stopped = false, has_tokens = false;
  };

  bool run_leader();
  bool run_member();
  StepPlan next_plan(std::int64_t step);
  Agreement agree(StepPlan& plan);
  void send_void_rows(std::int64_t step);
  void collect(std::int64_t up_to_step);
  bool has_work() const;
  void poll();
  void idle();

  EngineOptions options_;
  EngineParts parts_;
  std::int64_t kv_capacity_ = 0;
  std::unique_ptr<KvCache> kv_cache_;
  std::unique_ptr<StepRunner> runner_;
  std::unique_ptr<PlanChannel> channel_;
  std::unique_ptr<Scheduler> scheduler_;  ///< leaders
  std::deque<std::int64_t> unread_steps_;
  std::int64_t idle_polls_ = 0;
  EngineStats stats_;
};

}  // namespace trireme::engine
