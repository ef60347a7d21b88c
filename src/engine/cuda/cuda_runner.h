#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "engine/cuda/device_sampler.h"
#include "engine/cuda/device_step.h"
#include "engine/step_results.h"
#include "engine/step_runner.h"
#include "tensor/device.h"

namespace trireme::engine {

/// Executes plans on one GPU. launch() puts a step into the stream and returns; the next can be
/// planned and launched while it runs, since decodes take their tokens from the GPU's memory.
/// Steps of decodes alone replay graphs recorded for a ladder of sizes.
class CudaRunner : public StepRunner {
 public:
  /// Tunes the products of all sizes that steps will have, unless they are known.
  explicit CudaRunner(const RunnerParts& parts);

  void launch(const StepPlan& plan) override;
  std::vector<RowResult> read(int lane) override;
  void finish() override;

  const ExpertLoadCounts& expert_counts() const override { return counter_.counts(); }
  double forward_seconds() const override { return forward_seconds_; }
  double sample_seconds() const override { return 0; }  ///< of the host

 private:
  /// A step whose results were not read, or whose experts were not counted.
  struct Step {
    int parity = 0;
    StepSize size;
    std::int64_t num_tokens = 0;  ///< without what fills it up
    ResultLayout layout;
    bool is_graph = false, is_read = false, has_void_rows = false;
    std::vector<std::int32_t> void_rows;
    std::span<layers::ExpertChoice> choices;
    std::size_t num_samples = 0, num_scores = 0;
  };
  /// What a step wants of its logits; sample rows first, then scores.
  struct LogitRows {
    std::vector<std::int32_t> tokens;
    std::vector<SampleRow> samples;
    std::vector<std::int32_t> slots;  ///< of the samples
    std::vector<ScoreRow> scores;
  };
  struct RecordedStep {
    tensor::Graph graph;
    tensor::TensorView logits;  ///< where it leaves them, until the next step
  };

  void collect_logit_rows(const StepPlan& plan);
  StepSize step_size(const StepPlan& plan, bool is_graph) const;
  bool is_graph_step(const StepPlan& plan) const;
  tensor::TensorView decode_all(const StepSize& size);
  void record_graphs();
  void run_eagerly(const Step& step);
  tensor::TensorView forward(const StepSize& size, std::int64_t num_logit_rows,
                             bool wants_all_logits = false);
  void count_experts(Step& step);
  void forget_counted();
  void tune();
  void tune_size(const StepSize& size, std::int64_t num_logit_rows);

  RunnerParts parts_;
  const tensor::Stream& stream_;
  SlotTable slots_;
  DeviceStep device_step_;
  DeviceSampler device_sampler_;
  ExpertCounter counter_;
  std::int64_t choices_per_token_ = 0;
  std::array<tensor::PinnedBuffer, kStepsInFlight> choices_;
  std::array<tensor::Event, kStepsInFlight> done_;
  std::map<std::int64_t, RecordedStep> graphs_;  ///< by the number of sequences
  LogitRows logit_rows_;
  std::deque<Step> steps_;
  std::int64_t num_launched_ = 0;
  double forward_seconds_ = 0;
};

}  // namespace trireme::engine
