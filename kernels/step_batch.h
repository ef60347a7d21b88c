#pragma once

#include <array>
#include <cstdint>

#include "kernels/cuda_stream.h"

/// A step as it travels to the GPU, and what the GPU makes of it: the arrays that the layers read.
/// The sequences' state (blocks, tokens) stays there, by slot. CUDA only: on the CPU the host
/// builds the arrays.
namespace trireme::kernels::cuda {

/// A sequence in a step.
struct StepRow {
  std::int32_t slot = 0;
  std::int32_t first_position = 0;
  std::int32_t first_token = 0;  ///< its place among the step's tokens
  std::int32_t num_tokens = 0;   ///< 0: fills up the step
  std::int32_t first_id = -1;    ///< of its tokens in `ids`; -1: the slot's last token
};

/// Layer groups that a step has arrays for.
inline constexpr int kMostLayerGroups = 4;

struct StepArrays {
  const StepRow* rows = nullptr;             ///< [num_seqs]
  const std::int32_t* ids = nullptr;         ///< of the rows that bring their tokens
  const std::int32_t* last_token = nullptr;  ///< [slots]
  std::int64_t num_seqs = 0;
  std::int64_t num_tokens = 0;  ///< those behind the last row's fill up the step
  std::int64_t tokens_per_block = 0;

  std::int32_t* history = nullptr;  ///< [slots, history_stride], by position; may be null
  std::int64_t history_stride = 0;

  std::int32_t* token_ids = nullptr;       ///< [num_tokens]
  std::int32_t* positions = nullptr;       ///< [num_tokens]
  std::int32_t* q_begin = nullptr;         ///< [num_seqs + 1]
  std::int32_t* first_position = nullptr;  ///< [num_seqs]
  std::int32_t* table_row = nullptr;       ///< [num_seqs]
  struct Group {
    const std::int32_t* block_table = nullptr;  ///< [slots, max_blocks]
    std::int64_t max_blocks = 0;
    std::int64_t* slot_mapping = nullptr;  ///< [num_tokens]; -1 where the step is filled up
  };
  std::array<Group, kMostLayerGroups> groups;
  int num_groups = 0;
};
/// Writes the arrays of a step, and its tokens into the history of their slots.
void expand_step(const StepArrays& arrays, Stream stream);

/// A number that enters a table by slot: a block, or a token.
struct TableEntry {
  std::int32_t row = 0, column = 0, value = 0;
};
/// table[row, column] = value for each entry; no place occurs twice.
void enter(const TableEntry* entries, std::int64_t num_entries, std::int32_t* table,
           std::int64_t num_columns, Stream stream);

}  // namespace trireme::kernels::cuda
