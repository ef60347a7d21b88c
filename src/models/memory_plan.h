#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "models/model.h"

namespace trireme::models {

/// Bytes of one rank, known before anything is allocated.
struct MemoryPlan {
  std::int64_t weight_bytes = 0;
  std::int64_t kv_bytes = 0;         ///< given by configuration
  std::int64_t workspace_bytes = 0;  ///< activations of the largest step, exchange buffers
  std::int64_t total_bytes() const { return weight_bytes + kv_bytes + workspace_bytes; }
};

/// KV bytes of one sequence of max_seq_len on a rank of a stage; window groups need their window
/// alone.
std::int64_t kv_bytes_per_sequence(const layers::KvSpec& spec, std::int64_t max_seq_len,
                                   std::int64_t max_num_tokens, std::int64_t tokens_per_block,
                                   DType kv_dtype);

/// Blocks that one sequence of max_seq_len needs in a group.
std::int64_t blocks_per_sequence(std::int64_t window, std::int64_t max_seq_len,
                                 std::int64_t max_num_tokens, std::int64_t tokens_per_block);

}  // namespace trireme::models
