#include "config/key_table.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::config {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxRanks = std::int64_t{1} << 20;
constexpr std::int64_t kMaxMemoryBytes = std::int64_t{1} << 50;

Expected whole(std::int64_t min, std::int64_t max) {
  return {.text = cat("a whole number from ", min, " to ", max), .min = min, .max = max};
}

Expected number(const std::string& text, bool (*allows)(double)) {
  return {.text = text, .allows = allows};
}

Expected one_of(const std::vector<std::string>& choices) {
  std::string text = choices[0];
  for (std::size_t i = 1; i < choices.size(); ++i) {
    text += cat(i + 1 == choices.size() ? " or " : ", ", choices[i]);
  }
  return {.text = text, .choices = choices};
}

Expected text(const std::string& what) { return {.text = what}; }

Expected yes_or_no() { return {.text = "true or false"}; }

Expected power_of_two_block() {
  Expected expected = whole(8, 256);
  expected.text = "a power of two from 8 to 256";
  expected.allows = [](double value) {
    const auto tokens = static_cast<std::int64_t>(value);
    return (tokens & (tokens - 1)) == 0;
  };
  return expected;
}

Expected layers_of_stages() {
  Expected expected = whole(1, kMaxInt);
  expected.text = "a list of whole numbers from 1, such as [3, 2]";
  return expected;
}

Expected memory_size() {
  Expected expected = whole(1, kMaxMemoryBytes);
  expected.text = cat("bytes from 1 to ", kMaxMemoryBytes, ", or a size such as 4 GiB");
  expected.is_bytes = true;
  return expected;
}

Expected number_of_logprobs() {
  Expected expected = whole(0, 20);
  expected.text = "true, false or a whole number from 0 to 20";
  expected.zero_word = "true";
  return expected;
}

std::vector<Key> file_keys() {
  return {
      {"model", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.model; }, text("a folder"),
       "", "", "folder with config.json, safetensors and tokenizer.json"},
      {"prompts", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.prompts; },
       text("an HDF5 file"), "", "", "prompt file"},
      {"output", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.output; },
       text("a file name"), "", "", "result file to make"},
      {"run_dir", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.run_dir; },
       text("a folder"), "OUTPUT.run", "auto", "run directory for journals, seen by all ranks"},
      {"overwrite", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.overwrite; },
       yes_or_no(), "false", "", "replace an output and a run directory that are there already"},
      {"keep_run_directory", Topic::files,
       [](RunConfig& c) -> Slot { return &c.paths.keep_run_directory; }, yes_or_no(), "false", "",
       "keep the journals when the result file is complete"},
      {"record_loads", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.record_loads; },
       text("a file name, auto or none"), "OUTPUT.loads.h5 for models with experts", "auto",
       "file of how often each expert was chosen; none: not written"},
      {"record_choices", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.record_choices; },
       yes_or_no(), "false", "", "keep there too which experts each token chose"},
      {"limit", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.limit; },
       whole(1, std::int64_t{1} << 40), "all", "all", "only the first N prompts, for a trial"},
      {"allow_links", Topic::files, [](RunConfig& c) -> Slot { return &c.paths.allow_links; },
       yes_or_no(), "false", "", "follow links and virtual datasets in the prompt file"},
  };
}

std::vector<Key> parallel_keys() {
  return {
      {"tensor_parallel_size", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.tensor_parallel_size; }, whole(1, kMaxRanks),
       "1", "", "ranks that share every layer (TP)"},
      {"pipeline_parallel_size", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.pipeline_parallel_size; }, whole(1, kMaxRanks),
       "1", "", "stages of consecutive layers (PP)"},
      {"context_parallel_size", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.context_parallel_size; }, whole(1, kMaxRanks),
       "1", "", "ranks that share one sequence's tokens (CP)"},
      {"data_parallel_size", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.data_parallel_size; }, whole(1, kMaxRanks),
       "ranks / (TP x PP x CP)", "auto", "replicas of the whole model (DP)"},
      {"enable_attention_dp", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.enable_attention_dp; }, yes_or_no(), "false",
       "", "each rank of a tensor group has its own sequences; experts span the group"},
      {"moe_tensor_parallel_size", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.moe_tensor_parallel_size; },
       whole(1, kMaxRanks), "TP / expert parallel", "auto", "ranks that share each expert"},
      {"moe_expert_parallel_size", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.moe_expert_parallel_size; },
       whole(1, kMaxRanks), "TP / moe tensor parallel, or 1", "auto",
       "ranks over which the experts are spread"},
      {"pipeline_layers", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.pipeline_layers; }, layers_of_stages(),
       "even, the first stages one more", "auto", "layers of each stage, such as 3,2"},
      {"cp_config.cp_type", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.parallel.cp_type; },
       one_of({"ring", "ulysses", "helix"}), "ring", "", "how attention is shared over CP ranks"},
      {"moe_config.load_balancer", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.moe.load_balancer; }, text("a placement file or none"),
       "none", "none", "placement file of the experts"},
      {"moe_config.max_num_tokens", Topic::parallelism,
       [](RunConfig& c) -> Slot { return &c.moe.max_num_tokens; }, whole(1, kMaxInt),
       "max_num_tokens, under attention DP times TP", "auto",
       "tokens of one expert exchange; more go in chunks"},
      {"device", Topic::parallelism, [](RunConfig& c) -> Slot { return &c.device; },
       one_of({"auto", "cpu", "cuda"}), "cuda where a GPU is", "", "where the model computes"},
      {"comm", Topic::parallelism, [](RunConfig& c) -> Slot { return &c.comm; },
       one_of({"auto", "mpi", "nccl", "peer"}), "mpi on cpu, nccl on cuda", "",
       "how ranks exchange tensors"},
  };
}

std::vector<Key> engine_keys() {
  return {
      {"dtype", Topic::engine, [](RunConfig& c) -> Slot { return &c.dtype; },
       one_of({"auto", "float32", "bfloat16", "float16"}),
       "float32 on cpu, the checkpoint's on cuda", "", "type of activations and KV memory"},
      {"deterministic", Topic::engine, [](RunConfig& c) -> Slot { return &c.deterministic; },
       yes_or_no(), "false", "",
       "cuda: the same bits whatever rows run together, in what chunks; slower"},
      {"max_batch_size", Topic::engine,
       [](RunConfig& c) -> Slot { return &c.limits.max_batch_size; },
       whole(1, std::int64_t{1} << 20), "64 on cpu, 1024 on cuda", "auto",
       "sequences of one step of one sequence group"},
      {"max_num_tokens", Topic::engine,
       [](RunConfig& c) -> Slot { return &c.limits.max_num_tokens; },
       whole(1, std::int64_t{1} << 24), "2048 on cpu, 8192 on cuda", "auto",
       "tokens of one step of one sequence group"},
      {"max_seq_len", Topic::engine, [](RunConfig& c) -> Slot { return &c.limits.max_seq_len; },
       whole(2, kMaxInt), "the model's", "auto", "tokens of prompt and output together"},
      {"enable_chunked_prefill", Topic::engine,
       [](RunConfig& c) -> Slot { return &c.limits.enable_chunked_prefill; }, yes_or_no(), "true",
       "", "cut prompts that are longer than what is left of a step"},
      {"plan_ahead", Topic::engine, [](RunConfig& c) -> Slot { return &c.limits.plan_ahead; },
       whole(0, 1), "1", "", "steps planned before the last one's tokens are read"},
      {"threads_per_rank", Topic::engine,
       [](RunConfig& c) -> Slot { return &c.limits.threads_per_rank; }, whole(1, 4096),
       "cores / ranks on the node", "auto", "threads of the CPU kernels"},
      {"tokenizer_threads", Topic::engine,
       [](RunConfig& c) -> Slot { return &c.limits.tokenizer_threads; }, whole(1, 1024),
       "1 or 2, by cores", "auto", "threads that tokenise, of each leader"},
  };
}

std::vector<Key> kv_memory_keys() {
  return {
      {"kv_cache_config.free_gpu_memory_fraction", Topic::kv_memory,
       [](RunConfig& c) -> Slot { return &c.kv_cache.free_gpu_memory_fraction; },
       number("a number above 0, at most 1", [](double value) { return value > 0 && value <= 1; }),
       "0.9", "", "share of the GPU memory left by the weights that KV may take"},
      {"kv_cache_config.host_memory_bytes", Topic::kv_memory,
       [](RunConfig& c) -> Slot { return &c.kv_cache.host_memory_bytes; }, memory_size(), "1 GiB",
       "", "KV memory of one rank on the CPU"},
      {"kv_cache_config.tokens_per_block", Topic::kv_memory,
       [](RunConfig& c) -> Slot { return &c.kv_cache.tokens_per_block; }, power_of_two_block(),
       "16 on cpu, 64 on cuda", "auto", "tokens of one KV block"},
      {"kv_cache_config.enable_block_reuse", Topic::kv_memory,
       [](RunConfig& c) -> Slot { return &c.kv_cache.enable_block_reuse; }, yes_or_no(), "true", "",
       "keep blocks of prompts for later prompts that begin alike"},
      {"kv_cache_config.dtype", Topic::kv_memory,
       [](RunConfig& c) -> Slot { return &c.kv_cache.dtype; },
       one_of({"auto", "float32", "bfloat16", "float16"}), "that of the activations", "",
       "type of keys and values"},
  };
}

std::vector<Key> sampling_keys() {
  const auto penalty = [] {
    return number("a number from -2 to 2", [](double value) { return value >= -2 && value <= 2; });
  };
  return {
      {"max_tokens", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.max_tokens; },
       whole(0, kMaxInt), "the model's, else 256", "auto", "tokens to generate at most"},
      {"min_tokens", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.min_tokens; },
       whole(0, kMaxInt), "the model's, else 0", "auto", "tokens before an end is allowed"},
      {"temperature", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.temperature; },
       number("0 (greedy) or a number from 0.01 to 1000",
              [](double value) { return value == 0 || (value >= 0.01 && value <= 1000); }),
       "the model's, else 1", "auto", "0: always the most probable token"},
      {"top_p", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.top_p; },
       number("a number above 0, at most 1", [](double value) { return value > 0 && value <= 1; }),
       "the model's, else 1", "auto", "smallest set of tokens that reaches this probability"},
      {"top_k", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.top_k; },
       whole(0, kMaxInt), "the model's, else 0", "auto", "most probable tokens kept; 0: all"},
      {"min_p", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.min_p; },
       number("a number from 0 to 1", [](double value) { return value >= 0 && value <= 1; }),
       "the model's, else 0", "auto", "least probability, as a share of the largest"},
      {"seed", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.seed; },
       text("a whole number from 0 to 18446744073709551615"), "0", "auto", "seed of all draws"},
      {"n", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.n; }, whole(1, 256), "1",
       "auto", "samples of each prompt"},
      {"stop", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.stop; },
       text("up to 64 strings, none empty"), "none", "", "the text ends before these strings"},
      {"ignore_eos", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.ignore_eos; },
       yes_or_no(), "false", "auto", "go on after an end-of-sequence token"},
      {"logprobs", Topic::sampling, [](RunConfig& c) -> Slot { return &c.sampling.logprobs; },
       number_of_logprobs(), "false", "false",
       "true: log-probability of each token; N: of the N best too"},
      {"prompt_logprobs", Topic::sampling,
       [](RunConfig& c) -> Slot { return &c.sampling.prompt_logprobs; }, yes_or_no(), "false",
       "auto", "log-probabilities of the prompt's tokens"},
      {"presence_penalty", Topic::sampling,
       [](RunConfig& c) -> Slot { return &c.sampling.presence_penalty; }, penalty(), "0", "auto",
       "taken from the logits of tokens already generated"},
      {"frequency_penalty", Topic::sampling,
       [](RunConfig& c) -> Slot { return &c.sampling.frequency_penalty; }, penalty(), "0", "auto",
       "the same, for each time that a token was generated"},
      {"repetition_penalty", Topic::sampling,
       [](RunConfig& c) -> Slot { return &c.sampling.repetition_penalty; },
       number("a number above 0, at most 100",
              [](double value) { return value > 0 && value <= 100; }),
       "the model's, else 1", "auto", "above 1: tokens of prompt and output are less probable"},
  };
}

std::vector<Key> message_keys() {
  return {
      {"progress_interval_s", Topic::messages,
       [](RunConfig& c) -> Slot { return &c.progress_interval_s; },
       number("seconds from 0.1 to 86400",
              [](double value) { return value >= 0.1 && value <= 86400; }),
       "10", "", "seconds between two lines of progress"},
      {"log_level", Topic::messages, [](RunConfig& c) -> Slot { return &c.log_level; },
       one_of({"debug", "info", "warning", "error"}), "info", "", "what is said at least"},
      {"log_all_ranks", Topic::messages, [](RunConfig& c) -> Slot { return &c.log_all_ranks; },
       yes_or_no(), "false", "", "let every rank speak, not rank 0 alone"},
      {"strict", Topic::messages, [](RunConfig& c) -> Slot { return &c.strict; }, yes_or_no(),
       "false", "", "exit with 10 if any row failed"},
  };
}

std::vector<Key> all_keys() {
  std::vector<Key> all;
  for (auto part :
       {file_keys, parallel_keys, engine_keys, kv_memory_keys, sampling_keys, message_keys}) {
    std::vector<Key> more = part();
    std::move(more.begin(), more.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace

const std::vector<Key>& keys() {
  static const std::vector<Key> table = all_keys();
  return table;
}

const Key* find_key(std::string_view name) {
  for (const Key& key : keys()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::vector<std::string> key_names() {
  std::vector<std::string> names;
  for (const Key& key : keys()) names.push_back(key.name);
  return names;
}

std::string_view title_of(Topic topic) {
  switch (topic) {
    case Topic::files:
      return "files";
    case Topic::parallelism:
      return "ranks and devices";
    case Topic::engine:
      return "engine";
    case Topic::kv_memory:
      return "KV memory";
    case Topic::sampling:
      return "sampling defaults (a row's own value wins)";
    case Topic::messages:
      return "messages";
  }
  return {};
}

}  // namespace trireme::config
