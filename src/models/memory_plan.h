#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "config/faults.h"
#include "config/run_config.h"
#include "models/model.h"

namespace trireme::models {

/// KV bytes of one sequence of max_seq_len on a rank of a stage; window groups need their window
/// alone. At most 2^60.
std::int64_t kv_bytes_per_sequence(const layers::KvSpec& spec, std::int64_t max_seq_len,
                                   std::int64_t max_num_tokens, std::int64_t tokens_per_block,
                                   DType kv_dtype);

/// Blocks that one sequence of max_seq_len needs in a group.
std::int64_t blocks_per_sequence(std::int64_t window, std::int64_t max_seq_len,
                                 std::int64_t max_num_tokens, std::int64_t tokens_per_block);

/// Bytes of one rank, known before anything is allocated.
struct MemoryPlan {
  std::int64_t weight_bytes = 0;  ///< exact, the rotary table among them
  std::int64_t kv_bytes = 0;      ///< cpu: given; cuda: the fraction of what the others leave
  /// Activations of the largest step, exchange buffers; estimated on a CPU, exact on a GPU.
  std::int64_t workspace_bytes = 0;
  std::int64_t arena_bytes = 0;            ///< GPU: of it, what the layers take
  std::int64_t kv_bytes_per_sequence = 0;  ///< of max_seq_len
  std::int64_t largest_seq_len = 0;        ///< of which one sequence fits kv_bytes; 0: none

  std::int64_t total_bytes() const { return weight_bytes + kv_bytes + workspace_bytes; }
};

/// What the memory of a job's ranks follows from.
struct MemoryInputs {
  const checkpoint::Checkpoint& checkpoint;
  const checkpoint::ModelConfig& model;
  const config::RunConfig& config;  ///< resolved; its layout has passed check_layout()
  topology::Sizes sizes;
  const eplb::Placement* placement = nullptr;  ///< of the experts; null: none
  std::int64_t device_memory_bytes = 0;        ///< of one rank; 0: not known
};

/// The plan of a rank, by building its part of the model without memory. Needs neither GPU nor MPI.
/// Throws Error(checkpoint) for a checkpoint that does not fit its config.json.
MemoryPlan plan_memory(const MemoryInputs& inputs, const topology::Coordinates& coordinates);

/// Rules 12 and 14 of DESIGN section 3: KV memory holds a sequence of max_seq_len, and everything
/// fits the device's memory. One fault for each rule and stage at most.
std::vector<config::Fault> check_memory(const MemoryInputs& inputs);

}  // namespace trireme::models
