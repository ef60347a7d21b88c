#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"

namespace trireme::comm {

/// Which local slot (or -1) on which rank computes a (token, k) pair.
struct ExpertTarget {
  std::int32_t moe_ep_rank = 0;
  std::int32_t local_slot = 0;
};

/// What a rank received in dispatch(): rows of hidden states and the pairs to compute with them.
struct DispatchedTokens {
  TensorView hidden_states;          ///< [num_rows, hidden_size] float32
  std::vector<std::int32_t> row_of;  ///< [num_pairs] row of hidden_states
  std::vector<std::int32_t> slots;   ///< [num_pairs] local expert slot
};

/// Brings tokens to the ranks that own their experts and the results back, when every rank has
/// tokens of its own (attention DP). Both calls are collective over the ffn group, also for a rank
/// with zero tokens, and belong together: dispatch, compute, combine. Each moe_tp rank of an owner
/// gets the tokens and returns its part of the sum over the intermediate size.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;

  /// Sends each token once to every rank that has one of its experts.
  ///   hidden_states  [num_tokens, hidden_size] float32
  ///   targets        [num_tokens · top_k]
  /// The result lives until combine().
  virtual const DispatchedTokens& dispatch(const TensorView& hidden_states, std::int64_t top_k,
                                           std::span<const ExpertTarget> targets) = 0;

  /// Returns the outputs of the pairs to the tokens' owners and sums them: over moe_tp in rank
  /// order, then y[t] = Σ_k weights[t, k] · output in order of k, all in float32.
  ///   pair_outputs  [num_pairs of dispatch, hidden_size] float32, in the order of row_of and slots
  ///   weights       [num_tokens, top_k] float32
  ///   y             [num_tokens, hidden_size] float32
  virtual void combine(const TensorView& pair_outputs, const TensorView& weights,
                       const TensorView& y) = 0;
};

/// Over MPI: `ffn` is the group's communicator, its rank = moe_tp · moe_ep_size + moe_ep.
std::unique_ptr<ExpertExchange> make_expert_exchange(Communicator& ffn, int moe_tp_size,
                                                     int moe_ep_size);

}  // namespace trireme::comm
