#pragma once

#include <cstdint>

#include "checkpoint/model_config.h"
#include "config/run_config.h"
#include "layers/forward_batch.h"
#include "topology/topology.h"

namespace trireme::models {

/// The largest step of one GPU, from which the memory of its activations follows.
struct StepExtents {
  std::int64_t num_tokens = 0;      ///< of a step
  std::int64_t num_logit_rows = 0;  ///< at a time
  std::int64_t num_vocab_columns = 0;
  DType dtype = DType::bfloat16;  ///< of activations
};

/// Steps of fewer tokens or logits get memory for so many, with which products are checked.
inline constexpr std::int64_t kLeastStepRows = 64;

/// Rows of logits that penalties, logit_bias or bans change at a time.
inline constexpr std::int64_t kMostEditedRows = 64;

/// Bytes that the layers of a decoder take from the arena at most: what they take, in the order in
/// which they take it, each tensor rounded up to 256 bytes. A layer that takes something new
/// belongs here as well; an arena that is too small says so in the first large step.
std::int64_t device_arena_bytes(const checkpoint::ModelConfig& model, const topology::Sizes& sizes,
                                const layers::KvSpec& spec, const StepExtents& step);

}  // namespace trireme::models
