#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "comm/mpi_comm.h"
#include "engine/engine.h"
#include "topology/topology.h"

namespace trireme::test {

/// How an engine is run in a test; the defaults are roomy.
struct EngineCase {
  std::string model_dir;
  topology::Sizes sizes;
  std::vector<int> pipeline_layers;
  std::int64_t max_batch_size = 16;
  std::int64_t max_num_tokens = 512;
  std::int64_t max_seq_len = 512;
  std::int64_t kv_bytes = std::int64_t{64} << 20;
  std::int64_t tokens_per_block = 16;
  std::int64_t moe_max_num_tokens = 4096;
  std::int64_t plan_ahead = 1;
  bool enable_reuse = true;
  bool enable_chunked_prefill = true;
  DType kv_dtype = DType::float32;
  bool rounds_to_bf16 = false;  ///< on the CPU: activations in products
  bool deterministic = false;   ///< on the GPU
  bool on_gpu = false;          ///< one rank; weights and activations of kv_dtype
  std::vector<std::int32_t> eos_token_ids;
  layers::ExpertPlacement experts = {};
};

struct RowOutcome {
  std::vector<std::int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<float> prompt_logprobs;  ///< without the first
  std::vector<std::int32_t> top_ids;
  std::vector<float> top_logprobs;
  std::string error;
  int finish_reason = 0;

  bool operator==(const RowOutcome&) const = default;
};

struct EngineOutcome {
  std::map<std::pair<std::int64_t, std::int32_t>, RowOutcome> rows;  ///< by (index, sample)
  std::int64_t num_preemptions = 0, reused_tokens = 0, num_steps = 0;
  /// Of all ranks: assignments by layer of the model and expert, and by layer and EP rank.
  std::map<std::pair<std::int32_t, std::int64_t>, std::int64_t> by_expert, by_ep_rank;
};

/// Runs the requests through engines on the ranks of `world`; sequence groups share them by turns.
/// Collective; every rank gets all results.
EngineOutcome run_engines(const comm::MpiComm& world, const EngineCase& engine_case,
                          const std::vector<engine::Request>& requests);

/// Largest absolute difference, without the first `skip` of what is expected; infinite where
/// lengths differ or a value is NaN.
float largest_difference(const std::vector<float>& actual, const std::vector<float>& expected,
                         std::size_t skip = 0);

}  // namespace trireme::test
