#pragma once

#include <cstdint>

#include "checkpoint/config_reader.h"
#include "checkpoint/model_config.h"

namespace trireme::checkpoint {

struct RopeAndPositions {
  RopeConfig rope;
  std::int64_t max_positions =
      0;  ///< max(max_position_embeddings, factor × the original ones if given)
};

/// The rotary embedding from rope_theta and rope_scaling, or from rope_parameters. Throws
/// Error(checkpoint) for types other than default, linear, llama3 and yarn.
RopeAndPositions read_rope(const ConfigReader& config, std::int64_t max_position_embeddings);

}  // namespace trireme::checkpoint
