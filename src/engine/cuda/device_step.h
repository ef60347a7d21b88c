#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/slot_table.h"
#include "engine/step_plan.h"
#include "kernels/step_batch.h"
#include "layers/forward_batch.h"
#include "tensor/device.h"

namespace trireme::engine {

/// Steps whose pinned memory is kept apart: one runs, the next is prepared.
inline constexpr int kStepsInFlight = 2;

/// Places in one piece of memory, in host and device memory alike.
class MemoryMap {
 public:
  template <typename T>
  struct Region {
    std::size_t offset = 0;
    T* in(void* memory) const {
      return reinterpret_cast<T*>(static_cast<std::byte*>(memory) + offset);
    }
  };
  /// 256-byte aligned.
  template <typename T>
  Region<T> reserve(std::int64_t count) {
    const std::size_t begin = size_bytes_;
    size_bytes_ += (static_cast<std::size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return {begin};
  }
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  std::size_t size_bytes_ = 0;
};

/// What steps may be at most.
struct DeviceStepLimits {
  std::int64_t num_slots = 0, max_batch_size = 0, max_num_tokens = 0;
  std::int64_t max_blocks = 0;  ///< of one sequence and layer group
  std::int64_t num_groups = 0;  ///< of layers
  std::int64_t tokens_per_block = 0;
  std::int64_t choices_per_token = 0;  ///< MoE layers · top_k
  std::int64_t max_seq_len = 0;
};

/// How large a step is on the device: as planned, or filled up to what a recorded graph has.
struct StepSize {
  std::int64_t num_seqs = 0, num_tokens = 0, num_decodes = 0;
};

/// The tokens of the slots in the GPU's memory.
struct SlotTokens {
  std::int32_t* last = nullptr;  ///< [slots], the input of the next decode
  /// [slots, max_seq_len]; behind expand(), of a slot with penalties, all before the token that
  /// its row draws.
  std::int32_t* history = nullptr;
  std::int64_t max_seq_len = 0;
};

/// The arrays of the step that runs and the state of the slots in the GPU's memory, at fixed
/// addresses, so that a graph can be recorded over them. What the host knows of a step travels in
/// one copy from pinned memory.
class DeviceStep {
 public:
  DeviceStep(const DeviceStepLimits& limits, std::span<const kernels::KvCache> caches);

  /// Enters the plan's new blocks and cached tokens and sends its rows, filled up to `size`.
  ///   logit_rows  tokens of the step whose logits are wanted; filled up likewise
  ///   parity      which pinned memory; the step that used it last must be over
  void send(const StepPlan& plan, std::span<const std::int32_t> logit_rows, const StepSize& size,
            int parity, const tensor::Stream& stream);

  /// Fills the arrays of the step on the device; batch() gives them.
  void expand(const StepSize& size, const tensor::Stream& stream) const;
  /// A step of this size; logit_rows are the first num_logit_rows of those that were sent.
  layers::ForwardBatch batch(const StepSize& size, std::int64_t num_logit_rows) const;

  SlotTokens slot_tokens() const;

  /// [MoE layers, num_tokens, top_k], of the step that runs.
  const std::int32_t* choices() const { return choices_.in(arrays_.data()); }

 private:
  void enter(std::span<const kernels::cuda::TableEntry> entries, std::int32_t* table,
             std::int64_t num_columns, const tensor::Stream& stream);
  void enter_blocks(const StepPlan& plan, const tensor::Stream& stream);
  void enter_cached_tokens(const StepPlan& plan, const tensor::Stream& stream);

  DeviceStepLimits limits_;
  std::span<const kernels::KvCache> caches_;
  // What travels in.
  MemoryMap::Region<kernels::cuda::StepRow> rows_;
  MemoryMap::Region<std::int32_t> logit_rows_, ids_;
  std::array<tensor::PinnedBuffer, kStepsInFlight> input_;
  tensor::DeviceBuffer device_input_;
  tensor::PinnedBuffer entries_;
  tensor::DeviceBuffer device_entries_;
  std::vector<kernels::cuda::TableEntry> new_entries_;
  std::size_t num_entries_used_ = 0;
  tensor::Event entries_sent_;
  // What the device makes of it.
  MemoryMap::Region<std::int32_t> token_ids_, positions_, q_begin_, first_position_, table_rows_;
  MemoryMap::Region<std::int32_t> choices_, last_token_, history_;
  std::vector<MemoryMap::Region<std::int32_t>> block_tables_;
  std::vector<MemoryMap::Region<std::int64_t>> slot_mappings_;
  tensor::DeviceBuffer arrays_;
  mutable std::vector<layers::GroupBatch> groups_;
};

}  // namespace trireme::engine
