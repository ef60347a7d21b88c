#include "models/device_workspace.h"

#include <algorithm>

namespace trireme::models {
namespace {

std::int64_t rounded(std::int64_t elements, std::int64_t size) {
  return (elements * size + 255) / 256 * 256;
}

constexpr std::int64_t kWord = 4;  // of float32 and int32

std::int64_t experts_bytes(const checkpoint::ModelConfig& model, const topology::Sizes& sizes,
                           const StepExtents& step) {
  if (model.num_experts == 0) return 0;
  const auto size = static_cast<std::int64_t>(size_of(step.dtype));
  const std::int64_t pairs = step.num_tokens * model.experts_per_token;
  const std::int64_t inner = model.moe_intermediate_size / sizes.moe_tp;
  constexpr std::int64_t slots = 1024;  // the most that the kernels take: a placement decides
  constexpr std::int64_t kPairsOfChunk = 2048;  // of the sort
  const std::int64_t routing =
      2 * rounded(pairs, kWord) + rounded(step.num_tokens * model.num_experts, kWord);
  const std::int64_t outputs = rounded(pairs * model.hidden_size, size) + rounded(pairs, kWord);
  const std::int64_t sorting = rounded(slots + 1, kWord) + rounded(pairs, kWord) +
                               rounded((pairs / kPairsOfChunk + 1) * slots, kWord);
  const std::int64_t activations =
      rounded(pairs * inner, size) + (inner % 16 == 0 ? 0 : rounded(2 * pairs * inner, size));
  return routing + outputs + sorting + activations;
}

}  // namespace

std::int64_t device_arena_bytes(const checkpoint::ModelConfig& model, const topology::Sizes& sizes,
                                const layers::KvSpec& spec, const StepExtents& extents) {
  StepExtents step = extents;
  step.num_tokens = std::max(step.num_tokens, kLeastStepRows);
  step.num_logit_rows = std::max(step.num_logit_rows, kLeastStepRows);
  const auto size = static_cast<std::int64_t>(size_of(step.dtype));
  const std::int64_t tp = sizes.attention_dp ? 1 : sizes.tp;
  const std::int64_t q_size = model.num_heads / tp * model.head_dim;
  const std::int64_t kv_size = spec.num_kv_heads * spec.head_dim;
  const std::int64_t hidden = rounded(step.num_tokens * model.hidden_size, size);
  const std::int64_t attention = rounded(step.num_tokens * (q_size + 2 * kv_size), size) +
                                 rounded(step.num_tokens * q_size, size) +
                                 rounded(2 * step.num_tokens, kWord);
  const std::int64_t mlp_inner = model.intermediate_size / tp;
  const std::int64_t mlp =
      rounded(2 * step.num_tokens * mlp_inner, size) + rounded(step.num_tokens * mlp_inner, size);
  const std::int64_t layers =
      hidden + std::max({attention, mlp, experts_bytes(model, sizes, step)});
  const std::int64_t logits = rounded(step.num_logit_rows * step.num_vocab_columns, kWord) +
                              rounded(step.num_logit_rows * model.hidden_size, size);
  return 2 * hidden + std::max(layers, logits);
}

}  // namespace trireme::models
