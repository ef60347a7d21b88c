#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trireme::config {

/// Sizes of the parallel groups. 0 = not given; `resolve()` fills what follows from the others.
struct ParallelSizes {
  std::int64_t tensor_parallel_size = 1;
  std::int64_t pipeline_parallel_size = 1;
  std::int64_t context_parallel_size = 1;
  std::int64_t data_parallel_size = 0;  ///< 0: world / (TP·PP·CP)
  bool enable_attention_dp = false;
  std::int64_t moe_tensor_parallel_size = 0;  ///< 0: quotient; both 0: TP, 1
  std::int64_t moe_expert_parallel_size = 0;
  std::vector<std::int64_t> pipeline_layers;  ///< empty: even, the first stages one more
  std::string cp_type = "ring";               ///< ring, ulysses, helix
};

struct MoeConfig {
  std::string load_balancer;        ///< placement file; empty: none
  std::string load_balancer_text;   ///< instead of a file: the map that stands in the configuration
  std::int64_t max_num_tokens = 0;  ///< tokens of one expert exchange; 0: max_num_tokens × TP
};

struct KvCacheConfig {
  double free_gpu_memory_fraction = 0.9;
  std::int64_t host_memory_bytes = std::int64_t{1} << 30;  ///< KV memory of one rank on the CPU
  std::int64_t tokens_per_block = 0;                       ///< 0: 16 on cpu, 64 on cuda
  bool enable_block_reuse = true;
  std::string dtype = "auto";  ///< auto: that of the activations
};

struct EngineLimits {
  std::int64_t max_batch_size = 0;  ///< sequences of one step and group; 0: 64 on cpu, 1024 on cuda
  std::int64_t max_num_tokens = 0;  ///< tokens of one step and group; 0: 2048 on cpu, 8192 on cuda
  std::int64_t max_seq_len = 0;     ///< prompt + output; 0: the model's
  bool enable_chunked_prefill = true;
  std::int64_t plan_ahead = 1;         ///< 0 or 1 steps; results are equal
  std::int64_t threads_per_rank = 0;   ///< 0: cores / ranks on the node
  std::int64_t tokenizer_threads = 0;  ///< a leader's; 0: one or two, by cores
};

/// Sampling values that a run sets as defaults. What is not given comes from the model's
/// generation_config, then from the built-in defaults (DESIGN section 3).
struct SamplingDefaults {
  std::optional<std::int64_t> max_tokens, min_tokens, top_k, n, logprobs;
  std::optional<double> temperature, top_p, min_p, presence_penalty, frequency_penalty,
      repetition_penalty;
  std::optional<std::uint64_t> seed;
  std::optional<bool> ignore_eos, prompt_logprobs;
  std::vector<std::string> stop;
};

struct IoPaths {
  std::string model, prompts, output, run_dir;  ///< run_dir empty: OUTPUT.run
  std::string config_file;  ///< the file that all this was read from; empty: none
  std::string record_loads;  ///< empty: OUTPUT.loads.h5 for models with experts; "none": off
  bool record_choices = false;
  bool overwrite = false;
  bool keep_run_directory = false;
  bool allow_links = false;  ///< links and virtual datasets in the prompt file
  std::int64_t limit = -1;   ///< rows for a trial; -1: all
};

/// Everything that a run is told, by file and command line, checked by validate() before use.
struct RunConfig {
  ParallelSizes parallel;
  MoeConfig moe;
  KvCacheConfig kv_cache;
  EngineLimits limits;
  SamplingDefaults sampling;
  IoPaths paths;
  std::string dtype = "auto", device = "auto", comm = "auto";
  double progress_interval_s = 10;
  std::string log_level = "info";
  bool log_all_ranks = false;
  /// Bitwise the same tokens and log-probabilities whatever rows run together and in what chunks.
  bool deterministic = false;
  bool strict = false;  ///< exit 10 if any row failed
};

}  // namespace trireme::config
