#pragma once

#include <cstdint>

#include "checkpoint/model_config.h"
#include "config/run_config.h"
#include "engine/request.h"
#include "io/prompt_row.h"

namespace trireme::job {

/// The sampling values of a row that says nothing itself.
struct SamplingBase {
  engine::SamplingParams params;
  std::int64_t num_samples = 1;
};

/// The run's own values over the model's generation_config over the built-in ones (DESIGN section
/// 3). Throws Error(checkpoint) for a generation_config whose values are out of range.
SamplingBase sampling_base(const config::SamplingDefaults& given,
                           const checkpoint::ModelConfig& model);

/// Puts what a row says over the base. Ids beyond the vocabulary and values that do not go together
/// make `request.error`.
void apply_row(const SamplingBase& base, const io::RowOptions& row, std::int64_t vocab_size,
               engine::Request& request);

}  // namespace trireme::job
