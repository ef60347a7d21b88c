#include "models/decoder.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/ops.h"

namespace trireme::models {
namespace {

layers::Shard shard_of(const BuildOptions& options) {
  layers::Shard shard;
  if (!options.sizes.attention_dp) {
    shard.tp_size = options.sizes.tp;
    shard.tp_rank = options.coordinates.tp;
  }
  shard.moe_tp_size = options.sizes.moe_tp;
  shard.moe_tp_rank = options.coordinates.moe_tp;
  shard.moe_ep_size = options.sizes.moe_ep;
  shard.moe_ep_rank = options.coordinates.moe_ep;
  return shard;
}

/// Layer groups by window, in the order in which the model has them: the same on all stages.
layers::KvSpec make_kv_spec(const checkpoint::ModelConfig& config,
                            const topology::LayerRange& range, const layers::Shard& shard) {
  layers::KvSpec spec;
  spec.num_kv_heads = layers::head_shard(config.num_heads, config.num_kv_heads, shard).num_kv_heads;
  spec.head_dim = config.head_dim;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::int64_t window = config.layer_window[static_cast<std::size_t>(layer)];
    auto group = std::ranges::find(spec.groups, window, &layers::LayerGroup::window);
    if (group == spec.groups.end()) group = spec.groups.insert(group, {window, {}, 0});
    ++group->num_layers_of_model;
    if (layer >= range.begin && layer < range.end) group->layers.push_back(layer - range.begin);
  }
  return spec;
}

layers::Attention::Options attention_options(const DecoderDesign& design, int layer,
                                             const layers::KvSpec& spec, int first_layer) {
  const checkpoint::ModelConfig& config = design.config;
  const std::int64_t window = config.layer_window[static_cast<std::size_t>(layer)];
  const auto group = std::ranges::find(spec.groups, window, &layers::LayerGroup::window);
  return {.prefix = cat("model.layers.", layer, ".self_attn."),
          .hidden_size = config.hidden_size,
          .num_heads = config.num_heads,
          .num_kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .window = window,
          .qk_norm = design.qk_norm,
          .eps = config.rms_norm_eps,
          .qkv_bias = design.qkv_bias,
          .output_bias = design.output_bias,
          .group_idx = static_cast<int>(group - spec.groups.begin()),
          .cache_idx = layer - first_layer};
}

layers::Moe::Options moe_options(const DecoderDesign& design, int layer, std::size_t moe_idx) {
  const checkpoint::ModelConfig& config = design.config;
  return {.layer = layer,
          .moe_idx = static_cast<std::int32_t>(moe_idx),
          .layer_prefix = cat("model.layers.", layer, "."),
          .names = design.expert_names,
          .hidden_size = config.hidden_size,
          .intermediate_size = config.moe_intermediate_size,
          .num_experts = config.num_experts,
          .top_k = config.experts_per_token,
          .normalize_weights = config.norm_topk_prob};
}

}  // namespace

DecoderLayer::DecoderLayer(checkpoint::WeightLoader& loader, const DecoderDesign& design, int layer,
                           const layers::Attention::Options& attention,
                           const std::optional<layers::Moe::Options>& moe,
                           const layers::Shard& shard, const layers::ExpertPlacement& placement,
                           const layers::Rotary& rotary)
    : attention_norm_(loader, cat("model.layers.", layer, ".input_layernorm.weight"),
                      design.config.hidden_size, design.config.rms_norm_eps),
      attention_(loader, attention, shard, rotary),
      mlp_norm_(loader, cat("model.layers.", layer, ".post_attention_layernorm.weight"),
                design.config.hidden_size, design.config.rms_norm_eps) {
  if (moe) {
    moe_.emplace(loader, *moe, shard, placement);
  } else {
    mlp_.emplace(loader, cat("model.layers.", layer, ".mlp."), design.config.hidden_size,
                 design.config.intermediate_size, shard);
  }
}

void DecoderLayer::forward(layers::ForwardContext& context, const layers::ForwardBatch& batch,
                           comm::ExpertExchange* exchange, const TensorView& hidden_states,
                           const TensorView& x, const TensorView& y) const {
  const bool has_tokens = hidden_states.rows() > 0;
  if (has_tokens) {
    attention_.forward(context, batch, x, y);
    mlp_norm_.add_forward(context.ops, y, hidden_states, x);
  }
  // A rank without tokens still owns experts that others need.
  if (moe_) {
    moe_->forward(context, batch, exchange, x, y);
  } else if (has_tokens) {
    mlp_->forward(context, x, y);
  }
}

TensorView DecoderLayer::forward_logit_rows(layers::ForwardContext& context,
                                            const layers::ForwardBatch& batch,
                                            const TensorView& hidden_states, const TensorView& x,
                                            const TensorView& y) const {
  const std::int64_t num_rows = std::ssize(batch.logit_rows);
  const TensorView rows = x.slice(0, num_rows), added = y.slice(0, num_rows);
  attention_.forward_logit_rows(context, batch, x, added);
  if (num_rows == 0) return rows;
  ops::take_rows(context.ops, batch.logit_rows, hidden_states, rows);
  const TensorView normed = hidden_states.slice(0, num_rows);  // of which nothing else is needed
  mlp_norm_.add_forward(context.ops, added, rows, normed);
  mlp_->forward(context, normed, added);
  ops::add(context.ops, added, rows);
  return rows;
}

Decoder::Decoder(const DecoderDesign& design, const BuildOptions& options,
                 checkpoint::WeightLoader& loader)
    : options_(options),
      shard_(shard_of(options)),
      hidden_size_(design.config.hidden_size),
      vocab_size_(design.config.vocab_size),
      kv_spec_(make_kv_spec(design.config, options.layers, shard_)),
      rotary_(loader, design.config.rope, design.config.head_dim, options.max_seq_len) {
  const int num_layers = static_cast<int>(design.config.num_layers);
  TRIREME_CHECK(0 <= options.layers.begin && options.layers.begin <= options.layers.end &&
                    options.layers.end <= num_layers,
                "layers=", options.layers.begin, "..", options.layers.end, " of ", num_layers);
  add_layers(design, loader);
  add_ends(design.config, loader);
}

void Decoder::add_layers(const DecoderDesign& design, checkpoint::WeightLoader& loader) {
  layers_.reserve(static_cast<std::size_t>(options_.layers.end - options_.layers.begin));
  moe_spec_.num_experts = design.config.num_experts;
  moe_spec_.top_k = design.config.experts_per_token;
  for (int layer = options_.layers.begin; layer < options_.layers.end; ++layer) {
    const layers::Attention::Options attention =
        attention_options(design, layer, kv_spec_, options_.layers.begin);
    std::optional<layers::Moe::Options> moe;
    if (design.config.layer_is_moe[static_cast<std::size_t>(layer)]) {
      moe = moe_options(design, layer, moe_spec_.layers.size());
      moe_spec_.layers.push_back(layer);
    }
    layers_.emplace_back(loader, design, layer, attention, moe, shard_, options_.experts, rotary_);
  }
}

void Decoder::add_ends(const checkpoint::ModelConfig& config, checkpoint::WeightLoader& loader) {
  const bool is_first = options_.coordinates.pp == 0;
  const bool is_last = options_.coordinates.pp == options_.sizes.pp - 1;
  if (is_first || (is_last && config.tie_word_embeddings)) {
    embedding_.emplace(loader, "model.embed_tokens.weight", vocab_size_, hidden_size_, shard_);
  }
  if (!is_last) return;
  norm_.emplace(loader, "model.norm.weight", hidden_size_, config.rms_norm_eps);
  if (config.tie_word_embeddings) {
    head_.emplace(*embedding_);
  } else {
    head_.emplace(loader, "lm_head.weight", vocab_size_, hidden_size_, shard_);
  }
}

TensorView Decoder::forward(layers::ForwardContext& context, const layers::ForwardBatch& batch,
                            const TensorView& hidden_states) {
  tensor::Arena& arena = context.ops.arena;
  const DType dtype = context.ops.activation_dtype;
  const TensorView hidden = arena.take({batch.num_tokens(), hidden_size_}, dtype);
  if (options_.coordinates.pp > 0) {
    TRIREME_CHECK(hidden_states.shape == hidden.shape && hidden_states.is_contiguous(),
                  "hidden_states=", hidden_states.shape.text(), " wanted=", hidden.shape.text());
    if (hidden.rows() > 0) std::memcpy(hidden.data, hidden_states.data, hidden.size_bytes());
  } else if (hidden.rows() > 0) {
    embedding_->forward(context, batch.token_ids, hidden);
  }
  const TensorView x = arena.take(hidden.shape, dtype);  // what a block reads
  const bool wants_rows = head_.has_value() && !batch.wants_all_logits && hidden.rows() > 0;
  const tensor::ArenaScope scope(arena);
  const TensorView y = arena.take(hidden.shape, dtype);  // what it adds
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const DecoderLayer& layer = layers_[i];
    if (hidden.rows() > 0) {
      const layers::RmsNorm& norm = layer.attention_norm();
      i == 0 ? norm.forward(context.ops, hidden, x) : norm.add_forward(context.ops, y, hidden, x);
    }
    const bool is_cut = wants_rows && i + 1 == layers_.size() && layer.has_mlp();
    TensorView rows;
    if (is_cut) {
      rows = layer.forward_logit_rows(context, batch, hidden, x, y);
    } else {
      layer.forward(context, batch, exchange(context), hidden, x, y);
    }
    if (context.progress) context.progress();
    if (is_cut) return rows;
  }
  if (hidden.rows() > 0 && !layers_.empty()) ops::add(context.ops, y, hidden);
  if (!wants_rows) return hidden;
  const TensorView rows = x.slice(0, std::ssize(batch.logit_rows));
  if (rows.rows() > 0) ops::take_rows(context.ops, batch.logit_rows, hidden, rows);
  return rows;
}

TensorView Decoder::logits(layers::ForwardContext& context, const TensorView& hidden_states) {
  TRIREME_CHECK(head_.has_value(), "stage=", options_.coordinates.pp);
  tensor::Arena& arena = context.ops.arena;
  const std::int64_t num_rows = hidden_states.rows();
  const TensorView result = arena.take({num_rows, vocab_shard().num_columns}, DType::float32);
  if (num_rows == 0) return result;
  const tensor::ArenaScope scope(arena);
  const TensorView normed = arena.take({num_rows, hidden_size_}, hidden_states.dtype);
  norm_->forward(context.ops, hidden_states, normed);
  head_->forward(context.ops, normed, result);
  return result;
}

CausalLm::VocabShard Decoder::vocab_shard() const {
  const layers::VocabRange range = layers::vocab_range(vocab_size_, shard_);
  return {static_cast<std::int32_t>(range.begin), static_cast<std::int32_t>(range.num_valid),
          static_cast<std::int32_t>(range.num_columns)};
}

comm::ExpertExchange* Decoder::exchange(const layers::ForwardContext& context) {
  if (!options_.sizes.attention_dp || moe_spec_.layers.empty()) return nullptr;
  // All ranks of the ffn group take their first step together.
  if (!exchange_) {
    exchange_ = comm::make_expert_exchange(*context.groups.ffn, options_.sizes.moe_tp,
                                           options_.sizes.moe_ep);
  }
  return exchange_.get();
}

}  // namespace trireme::models
