#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/cuda/device_step.h"
#include "engine/sample_row.h"
#include "kernels/logit_edits.h"
#include "kernels/sampling.h"
#include "tensor/device.h"
#include "tensor/tensor.h"

namespace trireme::engine {

/// What the GPU needs to draw the row's token into the slot's last one.
kernels::SamplingRow sampling_row(const SampleRow& row, std::int32_t slot, std::int64_t vocab_size);

/// The rows of a step whose logits are edited before their tokens are drawn: those with penalties,
/// logit_bias or banned ids. A few at a time are written beside the raw logits and drawn there; the
/// log-probabilities of what is drawn are of the raw logits. How many rows there are is not known
/// to a recorded graph, so this is launched behind it.
class EditedRows {
 public:
  EditedRows(std::int64_t max_batch_size, std::int64_t vocab_size);

  /// Sends what is asked for by those of the rows that are edited; their logit_bias ascends by id.
  ///   parity  which pinned memory; the step that used it last must be over
  void send(std::span<const SampleRow> rows, std::span<const std::int32_t> slots, int parity,
            const tensor::Stream& stream);
  /// Draws the rows that were sent.
  ///   logits     of the whole step, as the rows count them
  ///   workspace  kernels::Sampling's
  void draw(const tensor::TensorView& logits, const SlotTokens& slots, void* workspace, int parity,
            const tensor::Stream& stream);

  /// Starts the copy of what was drawn to the host.
  void return_results(int parity, const tensor::Stream& stream);
  /// When that has arrived: what was drawn for a row of those that were sent, without the best
  /// ones; nothing if it was not edited.
  std::optional<SampledToken> sampled(int parity, std::size_t row) const;

 private:
  struct Pinned {
    tensor::PinnedBuffer input, output, changes;
    std::vector<std::int64_t> edited_of_row;  ///< -1: not edited
    std::int64_t num_edited = 0;
    bool wants_logprobs = false;
  };
  Pinned& pinned(int parity) { return pinned_[static_cast<std::size_t>(parity)]; }
  kernels::cuda::LogitEditRow edit_row(const SampleRow& row, std::int32_t slot);
  void send_changes(Pinned& memory, const tensor::Stream& stream);
  void edit(const tensor::TensorView& logits, const SlotTokens& slots, std::int64_t begin,
            std::int64_t count, const tensor::Stream& stream) const;

  std::int64_t vocab_size_, rows_at_once_, stride_;
  MemoryMap::Region<kernels::SamplingRow> draws_;
  MemoryMap::Region<kernels::cuda::LogitEditRow> edits_;
  MemoryMap::Region<std::int32_t> scored_rows_;  ///< of the raw logits; -1: not wanted
  MemoryMap::Region<std::int32_t> tokens_;
  MemoryMap::Region<float> logprobs_;
  tensor::DeviceBuffer input_, output_, changes_, edited_;
  std::vector<kernels::cuda::LogitChange> new_changes_;
  std::array<Pinned, kStepsInFlight> pinned_;
};

}  // namespace trireme::engine
