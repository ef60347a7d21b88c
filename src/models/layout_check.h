#pragma once

#include <vector>

#include "checkpoint/model_config.h"
#include "config/faults.h"
#include "config/run_config.h"
#include "topology/topology.h"

namespace trireme::models {

/// The rules about layout and lengths that need the model (DESIGN section 3: 4 to 9 and 11); every
/// fault.
///   config  resolved
///   sizes   of it
///   given   the sizes as the user gave them, if known: what the experts' sizes were filled in with
///           is no fault of a model without experts
std::vector<config::Fault> check_layout(const checkpoint::ModelConfig& model,
                                        const config::RunConfig& config,
                                        const topology::Sizes& sizes,
                                        const config::ParallelSizes* given = nullptr);

/// max_seq_len of the configuration, or the model's positions if it gives none.
std::int64_t max_seq_len_of(const checkpoint::ModelConfig& model, const config::RunConfig& config);

}  // namespace trireme::models
