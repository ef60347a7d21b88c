#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/run_config.h"

namespace trireme::config {

/// What is known of the job's machines when defaults are filled in and checked.
struct Surroundings {
  std::int64_t world = 1;  ///< ranks of the job
  int ranks_on_node = 1;
  int cores_on_node = 1;
  bool has_gpu = false;   ///< this build and this machine can use one: what `device: auto` asks
  bool must_run = false;  ///< the job is to run here (`run`), not only to be planned (`plan`)
};

/// The parallel sizes as plain numbers; all at least 1.
struct ResolvedParallel {
  int tp = 1, pp = 1, cp = 1, dp = 1;
  int moe_tp = 1, moe_ep = 1;
  bool attention_dp = false;
  bool helix = false;
};

/// The configuration with every default filled in that follows from other keys and the
/// surroundings: device, comm, dtype (on cpu), data and expert parallel sizes, batch and token
/// limits, tokens_per_block, threads, run_dir. What the model decides stays open: max_seq_len,
/// dtype on cuda, sampling. Expects a configuration in which validate() found no fault.
RunConfig resolve(const RunConfig& config, const Surroundings& surroundings);

/// The sizes of a resolved configuration.
ResolvedParallel resolved_parallel(const RunConfig& resolved);

/// moe_tensor_parallel_size and moe_expert_parallel_size with the one that is not given filled in;
/// none if their product cannot be `ffn` ranks, the size of the family that the experts span.
struct MoeSizes {
  std::int64_t tp = 1, ep = 1;
};
std::optional<MoeSizes> moe_sizes(const ParallelSizes& sizes);

/// Ranks over which the FFN and the experts of a stage are spread: TP, with helix TP × CP. Valid
/// only for sizes in range.
std::int64_t ffn_size(const ParallelSizes& sizes);

/// TP × PP × CP × DP, with DP = 1 if it is not given; no more than 2^62 for sizes in range, however
/// large.
std::int64_t smallest_world(const ParallelSizes& sizes);

/// `cpu` or `cuda`.
std::string resolved_device(const RunConfig& config, const Surroundings& surroundings);

}  // namespace trireme::config
