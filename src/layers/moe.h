#pragma once

#include <string>
#include <vector>

#include "layers/expert_slots.h"
#include "layers/forward_batch.h"
#include "layers/weight.h"

namespace trireme::layers {

/// How a family names the weights of a mixture of experts. Expert 7's gate: prefix + "7" + gate.
struct ExpertNames {
  std::string router = "mlp.gate.weight";
  std::string prefix = "mlp.experts.";
  std::string gate = ".gate_proj.weight", up = ".up_proj.weight", down = ".down_proj.weight";
};

/// A mixture of SwiGLU experts: each token goes to the top_k that the router likes best. The
/// experts are spread over moe_ep, the intermediate size of each over moe_tp.
///
/// Without attention DP all ranks of the ffn group have the same tokens, compute what their experts
/// add and sum over the group. With it every rank has tokens of its own, which are sent to the
/// experts' owners and come back, in chunks of at most moe_max_num_tokens.
class Moe {
 public:
  struct Options {
    std::int32_t layer = 0;    ///< its number in the model
    std::int32_t moe_idx = 0;  ///< its place among the stage's MoE layers
    std::string layer_prefix;  ///< "model.layers.3."
    ExpertNames names;
    std::int64_t hidden_size = 0, intermediate_size = 0;
    std::int64_t num_experts = 0, top_k = 0;
    bool normalize_weights = true;  ///< of the chosen experts to a sum of one
  };
  Moe(checkpoint::WeightLoader& loader, const Options& options, const Shard& shard,
      const ExpertPlacement& placement);

  /// x, y [tokens, hidden_size], contiguous. Collective over the ffn group, also with zero tokens.
  ///   exchange  with attention DP; else null
  void forward(ForwardContext& context, const ForwardBatch& batch, comm::ExpertExchange* exchange,
               const TensorView& x, const TensorView& y) const;

 private:
  struct Routing {
    TensorView ids, weights;  // [tokens, top_k] int32, float32
  };
  Routing route(ForwardContext& context, const TensorView& x) const;
  void forward_on_gpu(ForwardContext& context, const ForwardBatch& batch, const TensorView& x,
                      const TensorView& y) const;
  void forward_shared_tokens(ForwardContext& context, const ForwardBatch& batch,
                             const TensorView& x, const TensorView& y) const;
  /// Tokens [begin, begin + rows of x) of the batch.
  void forward_chunk(ForwardContext& context, const ForwardBatch& batch,
                     comm::ExpertExchange& exchange, std::int64_t begin, const TensorView& x,
                     const TensorView& y) const;
  /// Leaves the choices of tokens from `begin` on where the batch wants them.
  void record(const ForwardBatch& batch, std::int64_t begin, std::span<const std::int32_t> ids,
              std::span<const comm::ExpertTarget> targets) const;

  Options options_;
  ExpertSlots slots_;
  bool is_split_;                  // over ranks
  tensor::Tensor router_;          // [num_experts, hidden_size]
  tensor::Tensor gate_up_;         // [slots, 2 · intermediate / moe_tp, hidden_size]
  tensor::Tensor slot_of_expert_;  // GPU: [num_experts] int32; empty: slot e holds expert e
  tensor::Tensor down_;            // [slots, hidden_size, intermediate / moe_tp]
};

}  // namespace trireme::layers
