#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/shape.h"
#include "eplb/traffic.h"

namespace trireme::eplb {

/// What the tokens of one layer want: which experts, from which node, how often.
struct TokenSet {
  std::int64_t num_tokens = 0, top_k = 0;
  std::vector<std::int16_t> experts;    ///< [tokens, top_k] all ≥ 0
  std::vector<std::int32_t> home_node;  ///< [tokens]
  std::vector<std::int32_t> weight;     ///< [tokens]
  std::vector<std::int32_t> begin;      ///< [experts + 1] into token_of
  std::vector<std::int32_t> token_of;   ///< tokens of each expert, ascending
};

/// Up to `most_tokens` of the choices, evenly spaced. Without choices each expert is one token of
/// every node, weighing as much as its load: its experts then lie near everybody, not near each
/// other.
TokenSet make_tokens(const Choices& choices, std::span<const std::int64_t> loads,
                     const Shape& shape, std::int64_t most_tokens);

/// The expected number of remote nodes of each token while experts move between nodes.
class TokenCosts {
 public:
  /// In these units, so that sums are exact.
  static constexpr std::int32_t kOneNode = 1 << 12;

  TokenCosts(const TokenSet& tokens, const Shape& shape, ReplicaChoice choice);

  /// Tells how many replicas of the expert each node has, [nodes]; costs follow with the next call
  /// of change_of().
  void set_copies(std::int32_t expert, std::span<const std::int32_t> copies);

  /// By how much the weighted sum of costs changes, for the experts whose copies were set. The new
  /// costs wait for keep(); without it the next call forgets them.
  std::int64_t change_of(std::span<const std::int32_t> experts);
  void keep();

 private:
  std::int32_t cost(std::int32_t token) const;

  const TokenSet& tokens_;
  std::int32_t num_nodes_;
  ReplicaChoice choice_;
  std::int64_t width_;                  // nodes, rounded up to whole vectors
  std::vector<float> start_;            // [nodes + 1, width] all 1, but 0 at home; the last all 1
  std::vector<float> miss_;             // [experts, width] chance that a remote choice is elsewhere
  std::vector<const float*> row_;       // [experts, nodes] row of miss_ that a home sees
  std::vector<std::int32_t> cost_;      // [tokens]
  std::vector<std::int32_t> new_cost_;  // of changed_
  std::vector<std::int32_t> changed_;   // tokens
  std::vector<std::int64_t> seen_;      // [tokens] the last change that touched it
  std::int64_t num_changes_ = 0;
};

}  // namespace trireme::eplb
