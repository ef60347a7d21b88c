#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/expert_counter.h"
#include "engine/kv_cache.h"
#include "engine/sampler.h"
#include "engine/slot_table.h"
#include "engine/step_results.h"
#include "models/model.h"

namespace trireme::engine {

/// What a model runner works with; everything outlives it.
struct RunnerParts {
  models::CausalLm& model;
  layers::ForwardContext& context;
  KvCache& kv_cache;
  const topology::Topology& topology;
  int rank = 0;
  std::int64_t hidden_size = 0, vocab_size = 0;
  std::int64_t tokens_per_block = 16;
  std::int64_t max_batch_size = 64, max_num_tokens = 2048;
  bool keeps_choices = false;  ///< the experts that each token chose, beside their counts
  std::function<void()> idle;  ///< called while waiting for another stage
};

/// Executes plans on one rank: its stage's layers, the transfers to its neighbours, sampling on the
/// last stage. All ranks of a group execute the same plans in the same order (DESIGN section 5, "A
/// step on one rank").
class ModelRunner {
 public:
  explicit ModelRunner(const RunnerParts& parts);

  /// Executes one step, or with a plan without rows only what it says of steps before. Collective
  /// over the stage's tp and ffn groups; sends do not block.
  void launch(const StepPlan& plan);

  /// First stage: the results of the lane's oldest step that were not read yet, one per row; waits
  /// for them. Complete on the leader; the others see tokens only.
  std::vector<RowResult> read(int lane);

  /// Waits for what is still under way.
  void finish();

  /// What this rank counted so far; nothing where another rank counts the same tokens.
  const ExpertLoadCounts& expert_counts() const { return counter_.counts(); }

  double forward_seconds() const { return forward_seconds_; }
  double sample_seconds() const { return sample_seconds_; }

 private:
  /// Buffers and transfers of one lane; a buffer is used again when its transfer is done.
  struct Lane {
    tensor::Tensor hidden_in, hidden_out;
    std::unique_ptr<comm::Transfer> hidden_send, token_transfer;
    std::vector<std::int32_t> words;  ///< of the step whose results are on their way
    ResultLayout layout;
    std::deque<std::vector<RowResult>> results;  ///< arrived, not read
  };

  Lane& lane(int index) { return lanes_[static_cast<std::size_t>(index)]; }
  void settle(Lane& lane);
  void wait(comm::Transfer& transfer);
  tensor::TensorView receive_hidden(Lane& lane, std::int64_t num_tokens);
  void send_hidden(Lane& lane, const tensor::TensorView& hidden);
  void sample(Lane& lane, const layers::ForwardBatch& batch, const tensor::TensorView& hidden);
  void deliver(Lane& lane);
  void record_tokens(const ResultLayout& layout, const std::vector<RowResult>& results);

  RunnerParts parts_;
  int stage_ = 0, num_stages_ = 1;
  bool with_details_ = true;
  SlotTable slots_;
  BatchBuilder builder_;
  std::unique_ptr<comm::Communicator> alone_;  ///< attention DP: each rank samples its own rows
  Sampler sampler_;
  ExpertCounter counter_;
  std::vector<Lane> lanes_;
  double forward_seconds_ = 0, sample_seconds_ = 0;
};

}  // namespace trireme::engine
