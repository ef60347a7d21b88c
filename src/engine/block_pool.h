#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

namespace trireme::engine {

/// Names the contents of a full block: all tokens up to its end (chained).
struct BlockHash {
  std::uint64_t low = 0, high = 0;

  bool operator==(const BlockHash&) const = default;
};

/// The hash of a block of `tokens` whose predecessor has hash `parent` (the run's seed for the
/// first).
BlockHash chain_hash(const BlockHash& parent, const std::int32_t* tokens, std::int64_t num_tokens);

/// The KV blocks of one layer group: free, referenced, or unreferenced but kept for reuse (least
/// recently used first out). Ids only, no memory.
class BlockPool {
 public:
  explicit BlockPool(std::int32_t num_blocks);

  std::int32_t num_blocks() const { return static_cast<std::int32_t>(blocks_.size()); }
  /// Blocks that allocate() can still give.
  std::int32_t num_available() const;

  /// A block with one reference, its old contents forgotten; none if all are referenced.
  std::optional<std::int32_t> allocate();
  /// The block that holds these contents, with one more reference.
  std::optional<std::int32_t> find(const BlockHash& hash);
  bool contains(const BlockHash& hash) const { return by_hash_.contains(hash); }
  /// Whether find() would take a block that allocate() could have given.
  bool is_unreferenced(const BlockHash& hash) const;
  /// Makes a referenced block findable. The first block with given contents stays the one found.
  void register_hash(std::int32_t block, const BlockHash& hash);
  /// Gives a reference back; a block without any is free, or kept if it has a hash.
  void release(std::int32_t block);

 private:
  struct Hasher {
    std::size_t operator()(const BlockHash& hash) const { return hash.low; }
  };
  struct Block {
    std::int32_t num_references = 0;
    std::optional<BlockHash> hash;
    std::list<std::int32_t>::iterator unreferenced_at;
  };

  std::vector<Block> blocks_;
  std::vector<std::int32_t> free_;
  std::list<std::int32_t> unreferenced_;  // oldest first
  std::unordered_map<BlockHash, std::int32_t, Hasher> by_hash_;
};

}  // namespace trireme::engine
