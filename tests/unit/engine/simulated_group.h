#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/scheduler.h"
#include "engine/step_results.h"

namespace trireme::test {

/// A model small enough to check by eye. The KV of a position is a hash of all tokens up to it; the
/// next token is a hash of every KV entry that attention may see. So one entry that is missing,
/// stale or another sequence's changes the answer.
struct ToyModel {
  static constexpr std::int32_t kVocabSize = 40;
  std::vector<std::int64_t> windows;  ///< by layer group; 0: full attention, else at least 2

  /// What the model answers a request, computed without blocks, steps or slots.
  std::vector<std::int32_t> generate(const engine::Request& request, std::int32_t sample,
                                     const std::vector<std::int32_t>& eos_token_ids,
                                     std::int64_t max_seq_len) const;
  /// The log-probabilities of a prompt, without the first.
  static std::vector<float> score(const std::vector<std::int32_t>& prompt);
};

/// The members of a sequence group as one: executes plans on a slot table and toy KV memory, and
/// checks what every plan promises.
class SimulatedGroup {
 public:
  SimulatedGroup(ToyModel model, std::vector<engine::PoolShape> pools,
                 std::int64_t tokens_per_block, std::int32_t num_slots, int num_lanes);

  /// One result per row. The plan travels as its bytes do.
  std::vector<engine::RowResult> execute(const engine::StepPlan& sent);

  /// Tokens drawn in rows that no later plan named as void; final after the last plan.
  std::int64_t num_drawn() const { return num_drawn_; }
  std::int64_t num_void_rows() const { return num_void_rows_; }
  /// Positions computed for the first time (no recomputation, no void rows).
  std::int64_t num_counted() const { return num_counted_; }

 private:
  struct Row {
    std::int64_t num_counted = 0, num_drawn = 0;
  };
  std::vector<engine::RowResult> compute(const engine::StepPlan& plan);
  void count(const engine::StepPlan& plan);
  void compute_row(const layers::ForwardBatch& batch, std::size_t row);
  std::uint64_t look(const layers::ForwardBatch& batch, std::size_t row, std::int64_t position);

  ToyModel model_;
  std::int64_t tokens_per_block_;
  engine::SlotTable slots_;
  engine::BatchBuilder builder_;
  std::vector<std::vector<std::uint64_t>> kv_;  ///< by group; [block · tokens_per_block + offset]
  std::vector<std::map<std::int64_t, std::uint64_t>> written_;  ///< by this step, by group
  std::vector<std::uint64_t> answers_;                          ///< by token of the step
  std::vector<std::vector<Row>> last_rows_;                     ///< by lane, of its last step
  std::int64_t num_drawn_ = 0, num_void_rows_ = 0, num_counted_ = 0;
};

/// Runs requests as an engine's leader does, in steps planned ahead or not.
struct SimulatedRun {
  engine::SchedulerLimits limits;
  std::vector<engine::PoolShape> pools;
  std::int64_t tokens_per_block = 4;
  std::int64_t plan_ahead = 1;
  std::int64_t max_seq_len = 64;
  bool enable_reuse = true;
  std::vector<std::int32_t> eos_token_ids;

  struct Outcome {
    std::map<std::pair<std::int64_t, std::int32_t>, engine::Completion> completions;
    std::int64_t num_preemptions = 0, reused_tokens = 0;
    std::int64_t num_drawn = 0, num_void_rows = 0, num_counted = 0;
    bool is_stuck = false;  ///< work was left and nothing moved any more
  };
  /// `arrive_at`: the step before which each request is there.
  Outcome run(const std::vector<engine::Request>& requests,
              const std::vector<std::int64_t>& arrive_at) const;
};

}  // namespace trireme::test
