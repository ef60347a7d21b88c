#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "comm/expert_exchange.h"
#include "comm/process_groups.h"
#include "kernels/attention.h"
#include "ops/context.h"
#include "tensor/tensor.h"

namespace trireme::layers {

using tensor::TensorView;

/// What the layers of one group (same kind of attention) need to find a step's keys and values.
struct GroupBatch {
  std::span<const std::int32_t> block_table;  ///< [num_seqs, max_blocks]; -1 = freed, out of sight
  std::int64_t max_blocks = 0;
  std::span<const std::int64_t> slot_mapping;  ///< [num_tokens] block · tokens_per_block + offset
};

/// An expert that a token chose, and the EP rank that computes it.
struct ExpertChoice {
  std::int32_t expert = 0, ep_rank = 0;
};

/// One step as a stage computes it; the memory belongs to the caller and stays until the step ends.
/// On a GPU the arrays are in its memory.
/// num_tokens may be 0 (a rank without work under attention DP still takes part in the MoE layers).
struct ForwardBatch {
  std::span<const std::int32_t> token_ids;       ///< [num_tokens]
  std::span<const std::int32_t> positions;       ///< [num_tokens]
  std::span<const std::uint64_t> token_keys;     ///< [num_tokens] of row, sample and position alone
  std::span<const std::int32_t> q_begin;         ///< [num_seqs + 1]
  std::span<const std::int32_t> first_position;  ///< [num_seqs]
  /// GPU: [num_seqs] rows of the block tables; empty: 0, 1, ...
  std::span<const std::int32_t> table_rows = {};
  std::int64_t num_decodes = 0;              ///< the first sequences have at most one token each
  std::span<const GroupBatch> groups;        ///< by layer group
  std::span<const kernels::KvCache> caches;  ///< by layer of this stage
  std::span<const std::int32_t> logit_rows;  ///< tokens whose logits are wanted
  bool wants_all_logits = false;             ///< logit_rows are all tokens, in their order
  /// Tokens of every rank of the ffn group in this step (attention DP); empty otherwise. The same
  /// on all.
  std::span<const std::int32_t> ffn_num_tokens;
  /// Where the MoE layers leave what their tokens chose: [MoE layers of the stage, num_tokens,
  /// top_k]; empty: nobody counts.
  std::span<ExpertChoice> choices;
  /// The same on a GPU, [MoE layers of the stage, num_tokens, top_k]; never empty where there are
  /// MoE layers.
  std::span<std::int32_t> expert_ids = {};
  /// GPU: tokens from *num_valid on fill up the step and go to no expert; null: none do.
  const std::int32_t* num_valid = nullptr;

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(positions.size()); }
  std::int64_t num_seqs() const { return static_cast<std::int64_t>(first_position.size()); }
};

/// What a rank computes with: lives as long as the model.
struct ForwardContext {
  ops::Context& ops;
  const comm::ProcessGroups& groups;
  bool attention_dp = false;
  std::int64_t moe_max_num_tokens = 0;  ///< of one expert exchange
  std::function<void()> progress;       ///< polls host messages; called after every layer
};

/// Layers with the same kind of attention share a pool and block tables.
struct LayerGroup {
  std::int64_t window = 0;               ///< 0: full attention
  std::vector<int> layers;               ///< layers of this stage, counted from its first
  std::int64_t num_layers_of_model = 0;  ///< in all stages
};

/// The MoE layers of a stage.
struct MoeSpec {
  std::vector<std::int32_t> layers;  ///< their numbers in the model, ascending
  std::int64_t num_experts = 0, top_k = 0;
};

/// What the model's KV cache looks like on this rank. Groups are the same, in the same order, on
/// all stages, also those without a layer of the group.
struct KvSpec {
  std::vector<LayerGroup> groups;
  std::int64_t num_kv_heads = 0;  ///< on this rank
  std::int64_t head_dim = 0;
};

}  // namespace trireme::layers
