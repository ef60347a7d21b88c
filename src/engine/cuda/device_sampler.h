#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/cuda/device_step.h"
#include "engine/cuda/edited_rows.h"
#include "engine/sample_row.h"
#include "kernels/sampling.h"
#include "tensor/device.h"
#include "tensor/tensor.h"

namespace trireme::engine {

/// Draws and scores on the GPU as Sampler does, for one rank that has the whole vocabulary. What is
/// drawn goes to the slots' last tokens at once, and to the host when it is asked for.
class DeviceSampler {
 public:
  DeviceSampler(std::int64_t max_batch_size, std::int64_t max_scores, std::int64_t vocab_size);

  /// Sends what the rows ask for, filled up to num_rows. Their logit_bias ascends by id.
  ///   parity  which pinned memory; the step that used it last must be over
  void send(std::span<const SampleRow> rows, std::span<const std::int32_t> slots,
            std::int64_t num_rows, int parity, const tensor::Stream& stream);
  /// Draws from the logits as they are; of rows that are edited it lists the best alone. Depends on
  /// nothing that a recorded graph does not know.
  ///   logits [at least num_rows, vocab_size]
  void sample(const tensor::TensorView& logits, std::int64_t num_rows, const SlotTokens& slots,
              const tensor::Stream& stream);
  /// Draws the rows that are edited from the same logits, behind sample().
  void sample_edited(const tensor::TensorView& logits, const SlotTokens& slots, int parity,
                     const tensor::Stream& stream) {
    edited_.draw(logits, slots, workspace_.data(), parity, stream);
  }
  /// rows [begin, begin + count), whose logits are rows 0 to count - 1.
  void score(const tensor::TensorView& logits, std::span<const ScoreRow> rows, std::int64_t begin,
             std::int64_t count, int parity, const tensor::Stream& stream);

  /// Starts the copy of what was drawn and scored to the host, as far as it was here.
  void return_results(std::size_t num_rows, std::size_t num_scores, int parity,
                      const tensor::Stream& stream);
  /// When that has arrived: of the rows that were sent with this parity.
  SampledToken sampled(int parity, std::size_t row) const;
  std::span<const float> scores(int parity, std::size_t num_scores) const;

 private:
  struct Pinned {
    tensor::PinnedBuffer input, output;
    std::vector<std::int32_t> num_top;  ///< by row; -1: no log-probabilities
    bool wants_top = false;
  };
  Pinned& pinned(int parity) { return pinned_[static_cast<std::size_t>(parity)]; }

  std::int64_t vocab_size_;
  MemoryMap::Region<kernels::SamplingRow> rows_;
  MemoryMap::Region<std::int32_t> targets_;
  tensor::DeviceBuffer input_;
  MemoryMap::Region<std::int32_t> tokens_, top_ids_;
  MemoryMap::Region<float> logprobs_, top_logprobs_, scores_;
  std::size_t output_bytes_ = 0;
  tensor::DeviceBuffer output_, workspace_;
  std::array<Pinned, kStepsInFlight> pinned_;
  EditedRows edited_;
};

}  // namespace trireme::engine
