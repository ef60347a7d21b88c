#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/expert_counter.h"
#include "engine/kv_cache.h"
#include "engine/sampler.h"
#include "engine/slot_table.h"
#include "engine/step_results.h"
#include "engine/step_runner.h"
#include "models/model.h"

namespace trireme::engine {

/// Executes plans on the CPU, on any number of ranks: a step is done when launch() returns.
class ModelRunner : public StepRunner {
 public:
  explicit ModelRunner(const RunnerParts& parts);

  void launch(const StepPlan& plan) override;
  std::vector<RowResult> read(int lane) override;
  void finish() override;

  const ExpertLoadCounts& expert_counts() const override { return counter_.counts(); }
  double forward_seconds() const override { return forward_seconds_; }
  double sample_seconds() const override { return sample_seconds_; }

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
