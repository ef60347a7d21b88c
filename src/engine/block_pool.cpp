#include "engine/block_pool.h"

#include "base/error.h"
#include "engine/noise.h"

namespace trireme::engine {

BlockHash chain_hash(const BlockHash& parent, const std::int32_t* tokens, std::int64_t num_tokens) {
  // Two independent 64-bit chains of splitmix64; the halves start apart and stay apart.
  BlockHash hash{splitmix64(parent.low ^ 0x6a09e667f3bcc908U),
                 splitmix64(parent.high ^ 0xbb67ae8584caa73bU)};
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const auto token = static_cast<std::uint64_t>(static_cast<std::uint32_t>(tokens[i]));
    hash.low = splitmix64(hash.low ^ token);
    hash.high = splitmix64(hash.high ^ (token << 32 | 0x9e3779b9U));
  }
  return hash;
}

BlockPool::BlockPool(std::int32_t num_blocks) : blocks_(static_cast<std::size_t>(num_blocks)) {
  free_.reserve(blocks_.size());
  for (std::int32_t block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

std::int32_t BlockPool::num_available() const {
  return static_cast<std::int32_t>(free_.size() + unreferenced_.size());
}

std::optional<std::int32_t> BlockPool::allocate() {
  std::int32_t block = -1;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (!unreferenced_.empty()) {
    block = unreferenced_.front();
    unreferenced_.pop_front();
    Block& state = blocks_[static_cast<std::size_t>(block)];
    by_hash_.erase(*state.hash);
    state.hash.reset();
  } else {
    return std::nullopt;
  }
  blocks_[static_cast<std::size_t>(block)].num_references = 1;
  return block;
}

std::optional<std::int32_t> BlockPool::find(const BlockHash& hash) {
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) return std::nullopt;
  Block& state = blocks_[static_cast<std::size_t>(found->second)];
  if (state.num_references++ == 0) unreferenced_.erase(state.unreferenced_at);
  return found->second;
}

bool BlockPool::is_unreferenced(const BlockHash& hash) const {
  const auto found = by_hash_.find(hash);
  return found != by_hash_.end() &&
         blocks_[static_cast<std::size_t>(found->second)].num_references == 0;
}

void BlockPool::register_hash(std::int32_t block, const BlockHash& hash) {
  Block& state = blocks_[static_cast<std::size_t>(block)];
  TRIREME_CHECK(state.num_references > 0, "block=", block);
  if (state.hash || !by_hash_.emplace(hash, block).second) return;
  state.hash = hash;
}

void BlockPool::release(std::int32_t block) {
  Block& state = blocks_[static_cast<std::size_t>(block)];
  TRIREME_CHECK(state.num_references > 0, "block=", block);
  if (--state.num_references > 0) return;
  if (state.hash) {
    state.unreferenced_at = unreferenced_.insert(unreferenced_.end(), block);
  } else {
    free_.push_back(block);
  }
}

}  // namespace trireme::engine
