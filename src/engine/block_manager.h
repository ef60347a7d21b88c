#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/block_pool.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace trireme::engine {

/// Size of one layer group's pool.
struct PoolShape {
  std::int64_t window = 0;  ///< 0: full attention
  std::int32_t num_blocks = 0;
};

/// Which KV blocks each sequence has, over all layer groups. Ids only: the leader alone manages
/// them and the plans carry them to the others (DESIGN section 5, "KV cache").
class BlockManager {
 public:
  BlockManager(std::vector<PoolShape> pools, std::int64_t tokens_per_block, bool enable_reuse,
               std::uint64_t seed);

  /// Gives the sequence what is cached of its tokens and room for all known tokens (window groups:
  /// not yet, but room for a first chunk of `max_chunk` tokens must be there), if that leaves
  /// `keep_free_share` of each pool. Sets num_computed to the tokens found; at least the last token
  /// is always left to compute. Adds the blocks to `entries`.
  bool admit(Sequence& sequence, std::int64_t max_chunk, double keep_free_share,
             std::vector<BlockEntry>& entries);

  /// Whether a second prompt of this length can find blocks of an equal first.
  bool may_reuse(std::int64_t num_tokens) const;

  /// Makes room for positions up to `end`; first gives back blocks that no later token can see.
  /// False, with nothing taken, if blocks are short.
  bool extend(Sequence& sequence, std::int64_t end, std::vector<BlockEntry>& entries);

  /// Makes full blocks findable whose tokens are known and whose KV an earlier plan computes.
  void register_full_blocks(Sequence& sequence);

  void release(Sequence& sequence);

  /// Share of the fullest pool's blocks that sequences hold.
  double use() const;
  std::int64_t num_reused_tokens() const { return num_reused_tokens_; }
  /// Whether a sequence of this length can run when it is alone.
  bool can_ever_hold(std::int64_t num_tokens, std::int64_t max_chunk) const;

 private:
  void extend_hashes(Sequence& sequence) const;
  std::int64_t cached_tokens(const Sequence& sequence) const;
  std::int64_t first_visible_block(std::int64_t position, const PoolShape& shape) const;
  std::int64_t num_blocks(std::int64_t num_tokens) const {
    return (num_tokens + tokens_per_block_ - 1) / tokens_per_block_;
  }

  std::vector<PoolShape> shapes_;
  std::vector<BlockPool> pools_;
  std::int64_t tokens_per_block_;
  bool enable_reuse_;
  BlockHash seed_;
  std::int64_t num_reused_tokens_ = 0;
};

}  // namespace trireme::engine
