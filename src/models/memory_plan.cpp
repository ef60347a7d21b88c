#include "models/memory_plan.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "models/device_workspace.h"
#include "models/layout_check.h"

namespace trireme::models {
namespace {

constexpr std::int64_t kLimit = std::int64_t{1} << 60;

std::int64_t saturated_product(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kLimit : std::min(product, kLimit);
}

DType kv_dtype(const MemoryInputs& inputs) {
  const config::RunConfig& config = inputs.config;
  const std::string& name = config.kv_cache.dtype != "auto" ? config.kv_cache.dtype : config.dtype;
  return float_dtype_from_name(name).value_or(inputs.model.dtype);
}

DType activation_dtype(const MemoryInputs& inputs) {
  return float_dtype_from_name(inputs.config.dtype).value_or(inputs.model.dtype);
}

/// What a GPU holds beside weights, KV and the arena: the products' and attention's workspaces,
/// block tables, the slots' tokens, the arrays of a step, edited logits, recorded graphs.
std::int64_t device_fixed_bytes(const MemoryInputs& inputs, std::int64_t max_seq_len,
                                const layers::KvSpec& spec) {
  constexpr std::int64_t kWorkspaces = std::int64_t{96} << 20;
  constexpr std::int64_t kGraphs = std::int64_t{256} << 20;
  const config::EngineLimits& limits = inputs.config.limits;
  const std::int64_t blocks = limits.max_batch_size *
                              (max_seq_len / inputs.config.kv_cache.tokens_per_block + 1) *
                              std::ssize(spec.groups);
  const std::int64_t choices =
      inputs.model.num_experts > 0 ? inputs.model.num_layers * inputs.model.experts_per_token : 0;
  const std::int64_t history = saturated_product(limits.max_batch_size, max_seq_len);
  const std::int64_t edited =
      std::min(limits.max_batch_size, kMostEditedRows) * inputs.model.vocab_size;
  return kWorkspaces + kGraphs +
         4 * (blocks + history + edited + limits.max_num_tokens * (choices + 8));
}

/// Float32 numbers that the largest step keeps beside the hidden states, on one rank.
std::int64_t workspace_floats(const MemoryInputs& inputs, const layers::KvSpec& spec,
                              std::int64_t vocab_columns) {
  const checkpoint::ModelConfig& model = inputs.model;
  const topology::Sizes& sizes = inputs.sizes;
  const std::int64_t tp = sizes.attention_dp ? 1 : sizes.tp;
  const std::int64_t tokens = inputs.config.limits.max_num_tokens;
  const std::int64_t q_size = model.num_heads / tp * model.head_dim;
  const std::int64_t kv_size = spec.num_kv_heads * spec.head_dim;

  const std::int64_t attention = saturated_product(tokens, 2 * q_size + 2 * kv_size);
  const std::int64_t dense = tokens * 3 * (model.intermediate_size / tp);
  std::int64_t experts = 0;
  if (model.num_experts > 0) {
    // Pairs that reach a rank depend on the router: twice an even share is planned for.
    const std::int64_t routed = sizes.attention_dp ? inputs.config.moe.max_num_tokens : tokens;
    const std::int64_t all = saturated_product(routed, model.experts_per_token);
    const std::int64_t pairs =
        sizes.moe_ep == 1 ? all : std::min(all, 2 * (all / sizes.moe_ep + 1));
    const std::int64_t buffers = sizes.attention_dp ? 5 : 2;  // sent, received, returned besides
    experts = saturated_product(pairs, buffers * model.hidden_size +
                                           3 * (model.moe_intermediate_size / sizes.moe_tp)) +
              tokens * model.num_experts;
  }
  // The hidden states, their norm and a layer's output; with stages one more in each lane.
  const std::int64_t hidden =
      saturated_product(tokens, model.hidden_size * (3 + (sizes.pp > 1 ? 2 * sizes.pp : 0)));
  const bool scores = inputs.config.sampling.prompt_logprobs.value_or(false);
  const std::int64_t logit_rows = scores ? tokens : inputs.config.limits.max_batch_size;
  return std::min(hidden + std::max({attention, dense, experts, logit_rows * vocab_columns}),
                  kLimit / 8);
}

std::int64_t largest_fitting(const layers::KvSpec& spec, const MemoryInputs& inputs,
                             std::int64_t kv_bytes, std::int64_t max_seq_len) {
  std::int64_t fits = 0, too_long = max_seq_len + 1;
  while (too_long - fits > 1) {
    const std::int64_t middle = fits + (too_long - fits) / 2;
    const std::int64_t bytes =
        kv_bytes_per_sequence(spec, middle, inputs.config.limits.max_num_tokens,
                              inputs.config.kv_cache.tokens_per_block, kv_dtype(inputs));
    (bytes <= kv_bytes ? fits : too_long) = middle;
  }
  return fits;
}

/// What is needed is rounded up, what is there down.
std::string size_text(std::int64_t bytes, bool round_up) {
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  std::int64_t size = 1024;
  for (; unit + 1 < kUnits.size() && bytes >= 1024 * size; ++unit) size *= 1024;
  const std::int64_t rest = bytes % size * 10 + (round_up ? size - 1 : 0);
  const std::int64_t tenths = bytes / size * 10 + rest / size;
  return cat(tenths / 10, tenths % 10 == 0 ? "" : cat(".", tenths % 10), " ", kUnits[unit]);
}
std::string needed(std::int64_t bytes) { return size_text(bytes, true); }
std::string there(std::int64_t bytes) { return size_text(bytes, false); }

constexpr std::int64_t kShortestSequence = 2;  // a token and what follows it

// Rule 12: one sequence of max_seq_len does not fit the KV memory.
std::string seq_len_message(const MemoryPlan& plan, std::int64_t max_seq_len,
                            const std::string& where, bool on_cuda) {
  const char* key =
      on_cuda ? "kv_cache_config.free_gpu_memory_fraction" : "kv_cache_config.host_memory_bytes";
  const std::string need = cat("a sequence of max_seq_len, which is ", max_seq_len, ", needs ",
                               needed(plan.kv_bytes_per_sequence));
  if (plan.largest_seq_len < kShortestSequence) {
    return cat("the KV memory", where, " is ", plan.kv_bytes,
               " bytes, too small for any sequence: ", need, "; raise ", key);
  }
  return cat("max_seq_len is ", max_seq_len, ", expected at most ", plan.largest_seq_len, where,
             ": a sequence needs ", needed(plan.kv_bytes_per_sequence),
             " of KV memory, and there are ", there(plan.kv_bytes), " (", key, ")");
}

}  // namespace

std::int64_t blocks_per_sequence(std::int64_t window, std::int64_t max_seq_len,
                                 std::int64_t max_num_tokens, std::int64_t tokens_per_block) {
  const std::int64_t all = (max_seq_len + tokens_per_block - 1) / tokens_per_block;
  if (window == 0) return all;
  // A chunk's first token sees window - 1 before it; such a stretch may begin anywhere in a block.
  const std::int64_t seen = window - 1 + std::min(max_num_tokens, max_seq_len);
  return std::min(all, (seen + tokens_per_block - 2) / tokens_per_block + 1);
}

std::int64_t kv_bytes_per_sequence(const layers::KvSpec& spec, std::int64_t max_seq_len,
                                   std::int64_t max_num_tokens, std::int64_t tokens_per_block,
                                   DType kv_dtype) {
  const std::int64_t token_bytes =
      2 * spec.num_kv_heads * spec.head_dim * static_cast<std::int64_t>(size_of(kv_dtype));
  std::int64_t sum = 0;
  for (const layers::LayerGroup& group : spec.groups) {
    const std::int64_t blocks =
        blocks_per_sequence(group.window, max_seq_len, max_num_tokens, tokens_per_block);
    const std::int64_t of_layer = saturated_product(blocks * tokens_per_block, token_bytes);
    const auto num_layers = static_cast<std::int64_t>(group.layers.size());
    sum = std::min(sum + saturated_product(of_layer, num_layers), kLimit);
  }
  return sum;
}

MemoryPlan plan_memory(const MemoryInputs& inputs, const topology::Coordinates& coordinates) {
  const std::vector<std::int64_t>& given = inputs.config.parallel.pipeline_layers;
  checkpoint::WeightLoader::Options counting{.mode = checkpoint::WeightLoader::Mode::count};
  if (inputs.config.device == "cuda") counting.dtype = activation_dtype(inputs);
  checkpoint::WeightLoader loader(inputs.checkpoint, nullptr, counting);
  const std::int64_t max_seq_len = max_seq_len_of(inputs.model, inputs.config);
  const std::unique_ptr<CausalLm> model =
      make_model(inputs.model,
                 {.sizes = inputs.sizes,
                  .coordinates = coordinates,
                  .layers = topology::layers_of_stage(static_cast<int>(inputs.model.num_layers),
                                                      inputs.sizes.pp, coordinates.pp,
                                                      {given.begin(), given.end()}),
                  .max_seq_len = max_seq_len,
                  .experts = {inputs.placement, {}}},
                 loader);
  const layers::KvSpec& spec = model->kv_spec();

  MemoryPlan plan;
  plan.weight_bytes = loader.allocated_bytes();
  plan.workspace_bytes = workspace_floats(inputs, spec, model->vocab_shard().num_columns) *
                         std::int64_t{sizeof(float)};
  plan.kv_bytes = inputs.config.kv_cache.host_memory_bytes;
  if (inputs.config.device == "cuda") {
    plan.arena_bytes =
        device_arena_bytes(inputs.model, inputs.sizes, spec,
                           {.num_tokens = std::max(inputs.config.limits.max_num_tokens,
                                                   inputs.config.limits.max_batch_size),
                            .num_logit_rows = inputs.config.limits.max_batch_size,
                            .num_vocab_columns = model->vocab_shard().num_columns,
                            .dtype = activation_dtype(inputs)});
    plan.workspace_bytes = plan.arena_bytes + device_fixed_bytes(inputs, max_seq_len, spec);
  }
  if (inputs.config.device == "cuda" && inputs.device_memory_bytes > 0) {
    const std::int64_t left = std::max<std::int64_t>(
        0, inputs.device_memory_bytes - plan.weight_bytes - plan.workspace_bytes);
    plan.kv_bytes = static_cast<std::int64_t>(inputs.config.kv_cache.free_gpu_memory_fraction *
                                              static_cast<double>(left));
  }
  plan.kv_bytes_per_sequence =
      kv_bytes_per_sequence(spec, max_seq_len, inputs.config.limits.max_num_tokens,
                            inputs.config.kv_cache.tokens_per_block, kv_dtype(inputs));
  plan.largest_seq_len = largest_fitting(spec, inputs, plan.kv_bytes, max_seq_len);
  return plan;
}

std::vector<config::Fault> check_memory(const MemoryInputs& inputs) {
  std::vector<config::Fault> faults;
  const std::int64_t max_seq_len = max_seq_len_of(inputs.model, inputs.config);
  const bool on_cuda = inputs.config.device == "cuda";
  for (int stage = 0; stage < inputs.sizes.pp; ++stage) {
    // The first rank of a stage holds as much as any other of it.
    const topology::Coordinates coordinates{.pp = stage};
    const MemoryPlan plan = plan_memory(inputs, coordinates);
    const std::string where = inputs.sizes.pp > 1 ? cat(" on stage ", stage) : "";
    if (plan.largest_seq_len < max_seq_len && (!on_cuda || inputs.device_memory_bytes > 0)) {
      faults.push_back({{on_cuda ? "kv_cache_config.free_gpu_memory_fraction"
                                 : "kv_cache_config.host_memory_bytes",
                         "max_seq_len"},
                        seq_len_message(plan, max_seq_len, where, on_cuda)});
    }
    if (inputs.device_memory_bytes > 0 && plan.total_bytes() > inputs.device_memory_bytes) {
      faults.push_back({{"device_memory"},
                        cat("a rank needs ", needed(plan.total_bytes()), where, " (weights ",
                            needed(plan.weight_bytes), ", KV ", needed(plan.kv_bytes),
                            ", workspace ", needed(plan.workspace_bytes),
                            "), expected at most its memory of ", there(inputs.device_memory_bytes),
                            ": use more ranks, or lower max_num_tokens, max_batch_size",
                            on_cuda ? "" : " or kv_cache_config.host_memory_bytes")});
    }
  }
  return faults;
}

}  // namespace trireme::models
