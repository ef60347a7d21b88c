#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/model_config.h"
#include "checkpoint/weight_loader.h"
#include "layers/expert_slots.h"
#include "layers/forward_batch.h"
#include "topology/topology.h"

namespace trireme::models {

using tensor::TensorView;

/// One pipeline stage of a causal language model, this rank's shard of it.
class CausalLm {
 public:
  virtual ~CausalLm() = default;

  virtual const layers::KvSpec& kv_spec() const = 0;
  virtual const layers::MoeSpec& moe_spec() const = 0;

  /// Runs this stage's layers. Collective over tp and ffn groups.
  ///   hidden_states  [num_tokens, hidden_size] float32 of the stage before; ignored on the first
  ///   stage
  ///   returns        the same for the next stage, or on the last one [num_logit_rows, hidden_size]
  ///   of the tokens in batch.logit_rows; in the arena
  virtual TensorView forward(layers::ForwardContext& context, const layers::ForwardBatch& batch,
                             const TensorView& hidden_states) = 0;

  /// Last stage: final norm and head for rows of what forward() returned.
  ///   returns  [rows, vocab_end - vocab_begin padded] float32 in the arena: this rank's shard
  virtual TensorView logits(layers::ForwardContext& context, const TensorView& hidden_states) = 0;

  /// The ids of this rank's logits: column c is id vocab_begin + c. Columns from `num_valid` on are
  /// padding (their values mean nothing).
  struct VocabShard {
    std::int32_t begin = 0;
    std::int32_t num_valid = 0;
    std::int32_t num_columns = 0;
  };
  virtual VocabShard vocab_shard() const = 0;
};

/// What a rank needs to know to build its part of a model.
struct BuildOptions {
  topology::Sizes sizes = {};
  topology::Coordinates coordinates = {};
  topology::LayerRange layers = {};
  std::int64_t max_seq_len = 0;  ///< rows of the rotary table
  layers::ExpertPlacement experts = {};
};

/// The architectures that make_model() knows, as config.json names them.
std::span<const std::string_view> known_architectures();

/// Builds this rank's part of the model and declares its weights to `loader`; the weights are there
/// when loader.load() has returned. Throws Error(checkpoint) for an unknown architecture (all known
/// named).
std::unique_ptr<CausalLm> make_model(const checkpoint::ModelConfig& config,
                                     const BuildOptions& options, checkpoint::WeightLoader& loader);

}  // namespace trireme::models
