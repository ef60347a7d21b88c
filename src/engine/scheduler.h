#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/block_manager.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace trireme::engine {

struct SchedulerLimits {
  int num_lanes = 1;                 ///< pipeline stages
  std::int64_t max_batch_size = 64;  ///< sequences of one step
  std::int64_t max_num_tokens = 2048;
  bool enable_chunked_prefill = true;
};

/// What a sampled row gave, as the last stage returned it.
struct RowResult {
  std::int32_t token = -1;
  float logprob = 0;
  std::vector<std::int32_t> top_ids;
  std::vector<float> top_logprobs;
  std::vector<float> scores;
};

/// Decides what each step computes: admission, chunks, preemption, ends. A state machine of the
/// leader: no MPI, no GPU, no files.
class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, BlockManager blocks, TextRules rules,
            std::function<void(Completion)> on_finished);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Takes a request: its samples wait for admission, or end at once if they cannot run.
  void add(Request request);

  /// The plan of the next step of a lane. At most one step of the lane may be unread.
  StepPlan plan(std::int64_t step, int lane);

  /// Rows of the lane's newest step that turned out to count for nothing; the lane's next plan
  /// names them, unless they are taken here.
  std::vector<std::int32_t> take_void_rows(int lane);

  /// The tokens of the oldest unread step of a lane, one result per row of its plan.
  void collect(int lane, std::span<const RowResult> results);

  std::int64_t num_waiting() const { return std::ssize(waiting_); }
  std::int64_t num_running() const { return std::ssize(running_); }
  bool has_work() const { return !waiting_.empty() || !running_.empty() || num_unread_ > 0; }
  bool has_unread(int lane) const { return !lanes_[static_cast<std::size_t>(lane)].unread.empty(); }
  std::int64_t num_preemptions() const { return num_preemptions_; }
  std::int64_t num_output_tokens() const { return num_output_tokens_; }
  const BlockManager& blocks() const { return blocks_; }

 private:
  using SequencePtr = std::shared_ptr<Sequence>;
  /// The sequences behind the rows of a step that was planned and whose tokens are not read yet.
  struct UnreadStep {
    std::vector<SequencePtr> sequences;
    std::vector<PlanRow> rows;
  };
  struct Lane {
    std::deque<UnreadStep> unread;
    std::vector<std::int32_t> void_rows;  ///< of the newest planned step
    std::int64_t num_running = 0;
  };
  /// A plan being made and what is left of its budget.
  struct Draft {
    StepPlan plan;
    std::vector<SequencePtr> sequences;
    std::int64_t tokens_left = 0;
    std::int64_t rows_left = 0;
  };

  std::string refusal(const Request& request) const;
  void plan_decodes(Draft& draft);
  void plan_prefills(Draft& draft);
  void admit(Draft& draft);
  bool try_admit(Draft& draft, const SequencePtr& sequence);
  bool add_chunk(Draft& draft, const SequencePtr& sequence);
  void add_row(Draft& draft, const SequencePtr& sequence, PlanRow row);
  bool is_decode_ready(const Sequence& sequence) const;
  AdmittedSlot admitted_slot(const Sequence& sequence) const;
  void preempt(const SequencePtr& sequence);
  void leave_slot(Sequence& sequence);
  void finish(const SequencePtr& sequence);
  std::int64_t lane_share() const;

  SchedulerLimits limits_;
  BlockManager blocks_;
  TextRules rules_;
  std::function<void(Completion)> on_finished_;
  std::deque<SequencePtr> waiting_;
  std::vector<SequencePtr> running_;  ///< in order of admission
  std::vector<Lane> lanes_;
  std::vector<std::int32_t> free_slots_;
  std::vector<std::int32_t> freed_slots_;  ///< to be named by the next plan
  std::int64_t num_admissions_ = 0;
  std::int64_t num_preemptions_ = 0;
  std::int64_t num_output_tokens_ = 0;
  std::int64_t num_unread_ = 0;
};

}  // namespace trireme::engine
