#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/attention.h"
#include "layers/lm_head.h"
#include "layers/mlp.h"
#include "layers/moe.h"
#include "layers/rms_norm.h"
#include "models/model.h"

namespace trireme::models {

/// What sets a family of decoders apart from the others.
struct DecoderDesign {
  checkpoint::ModelConfig config;  ///< with the family's defaults for keys that are not given
  layers::QkNorm qk_norm = layers::QkNorm::none;
  bool qkv_bias = false;
  bool output_bias = false;
  layers::ExpertNames expert_names;
};

/// Attention, then an MLP or a mixture of experts, each after a norm and added to the hidden
/// states.
class DecoderLayer {
 public:
  /// `moe`: none for a layer with an MLP.
  DecoderLayer(checkpoint::WeightLoader& loader, const DecoderDesign& design, int layer,
               const layers::Attention::Options& attention,
               const std::optional<layers::Moe::Options>& moe, const layers::Shard& shard,
               const layers::ExpertPlacement& placement, const layers::Rotary& rotary);

  /// All [tokens, hidden_size]: x comes as hidden_states after attention_norm(); y is left for the
  /// caller to add to hidden_states, who can do that together with the norm that follows. Changes
  /// hidden_states and x.
  void forward(layers::ForwardContext& context, const layers::ForwardBatch& batch,
               comm::ExpertExchange* exchange, const TensorView& hidden_states, const TensorView& x,
               const TensorView& y) const;

  /// A model's last layer where only the tokens of batch.logit_rows are wanted: what follows
  /// attention is computed for these, and without any of them attention is not. Returns their
  /// hidden states [logit_rows, hidden_size], which lie in x. Only for a layer with an MLP: the
  /// loads of experts count all tokens.
  TensorView forward_logit_rows(layers::ForwardContext& context, const layers::ForwardBatch& batch,
                                const TensorView& hidden_states, const TensorView& x,
                                const TensorView& y) const;

  const layers::RmsNorm& attention_norm() const { return attention_norm_; }
  bool has_mlp() const { return mlp_.has_value(); }

 private:
  layers::RmsNorm attention_norm_;
  layers::Attention attention_;
  layers::RmsNorm mlp_norm_;
  std::optional<layers::GatedMlp> mlp_;
  std::optional<layers::Moe> moe_;
};

/// A decoder-only transformer with pre-norms, rotary positions and gated MLPs: the skeleton of all
/// families here. Weights are named as transformers names them: model.embed_tokens, model.layers.N,
/// model.norm, lm_head.
class Decoder : public CausalLm {
 public:
  Decoder(const DecoderDesign& design, const BuildOptions& options,
          checkpoint::WeightLoader& loader);

  const layers::KvSpec& kv_spec() const override { return kv_spec_; }
  const layers::MoeSpec& moe_spec() const override { return moe_spec_; }
  TensorView forward(layers::ForwardContext& context, const layers::ForwardBatch& batch,
                     const TensorView& hidden_states) override;
  TensorView logits(layers::ForwardContext& context, const TensorView& hidden_states) override;
  VocabShard vocab_shard() const override;

 private:
  void add_layers(const DecoderDesign& design, checkpoint::WeightLoader& loader);
  void add_ends(const checkpoint::ModelConfig& config, checkpoint::WeightLoader& loader);
  comm::ExpertExchange* exchange(const layers::ForwardContext& context);

  BuildOptions options_;
  layers::Shard shard_;
  std::int64_t hidden_size_;
  std::int64_t vocab_size_;
  layers::KvSpec kv_spec_;
  layers::MoeSpec moe_spec_;
  layers::Rotary rotary_;
  std::optional<layers::VocabEmbedding> embedding_;  // first stage; last too if tied
  std::vector<DecoderLayer> layers_;
  std::optional<layers::RmsNorm> norm_;             // last stage
  std::optional<layers::LmHead> head_;              // last stage
  std::unique_ptr<comm::ExpertExchange> exchange_;  // attention DP, from the first step on
};

}  // namespace trireme::models
