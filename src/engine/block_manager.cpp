#include "engine/block_manager.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/memory_plan.h"

namespace trireme::engine {

BlockManager::BlockManager(std::vector<PoolShape> pools, std::int64_t tokens_per_block,
                           bool enable_reuse, std::uint64_t seed)
    : shapes_(std::move(pools)),
      tokens_per_block_(tokens_per_block),
      enable_reuse_(enable_reuse),
      seed_{seed, ~seed} {
  for (const PoolShape& shape : shapes_) pools_.emplace_back(shape.num_blocks);
}

std::int64_t BlockManager::first_visible_block(std::int64_t position,
                                               const PoolShape& shape) const {
  if (shape.window == 0) return 0;
  return std::max<std::int64_t>(0, position - shape.window + 1) / tokens_per_block_;
}

bool BlockManager::may_reuse(std::int64_t num_tokens) const {
  return enable_reuse_ && num_tokens > tokens_per_block_;
}

void BlockManager::extend_hashes(Sequence& sequence) const {
  const auto num_full = std::ssize(sequence.tokens()) / tokens_per_block_;
  for (auto i = std::ssize(sequence.hashes); i < num_full; ++i) {
    const BlockHash& parent = i == 0 ? seed_ : sequence.hashes.back();
    sequence.hashes.push_back(
        chain_hash(parent, sequence.tokens().data() + i * tokens_per_block_, tokens_per_block_));
  }
}

// The longest prefix whose blocks are all there: in a full group every block, in a window group
// those that the next token can see. One pass with, per group, the run of cached blocks that ends
// here.
std::int64_t BlockManager::cached_tokens(const Sequence& sequence) const {
  const std::int64_t limit = (std::ssize(sequence.tokens()) - 1) / tokens_per_block_;
  std::vector<std::int64_t> run(pools_.size(), 0);
  std::int64_t best = 0;
  for (std::int64_t block = 0; block < limit; ++block) {
    bool all_groups = true;
    for (std::size_t group = 0; group < pools_.size(); ++group) {
      const bool is_cached =
          pools_[group].contains(sequence.hashes[static_cast<std::size_t>(block)]);
      run[group] = is_cached ? run[group] + 1 : 0;
      const std::int64_t next_position = (block + 1) * tokens_per_block_;
      const std::int64_t needed = block + 1 - first_visible_block(next_position, shapes_[group]);
      all_groups = all_groups && run[group] >= needed;
    }
    if (all_groups) best = block + 1;
  }
  return best * tokens_per_block_;
}

bool BlockManager::admit(Sequence& sequence, std::int64_t max_chunk, double keep_free_share,
                         std::vector<BlockEntry>& entries) {
  const auto num_tokens = std::ssize(sequence.tokens());
  std::int64_t cached = 0;
  if (enable_reuse_) extend_hashes(sequence);
  if (enable_reuse_ && !sequence.params().prompt_logprobs) cached = cached_tokens(sequence);

  for (std::size_t group = 0; group < pools_.size(); ++group) {
    const PoolShape& shape = shapes_[group];
    std::int64_t needed = num_blocks(num_tokens) - cached / tokens_per_block_;
    // With the cached ones in sight never more than can_ever_hold() counts: it fits when alone.
    if (shape.window > 0) needed = std::min(needed, num_blocks(max_chunk));
    for (auto i = first_visible_block(cached, shape); i < cached / tokens_per_block_; ++i) {
      if (pools_[group].is_unreferenced(sequence.hashes[static_cast<std::size_t>(i)])) ++needed;
    }
    const auto keep = static_cast<std::int64_t>(std::ceil(keep_free_share * shape.num_blocks));
    if (pools_[group].num_available() - needed < keep) return false;
  }

  sequence.block_tables.assign(pools_.size(), {});
  for (std::size_t group = 0; group < pools_.size(); ++group) {
    auto& table = sequence.block_tables[group];
    table.assign(static_cast<std::size_t>(cached / tokens_per_block_), -1);
    for (auto i = first_visible_block(cached, shapes_[group]); i < std::ssize(table); ++i) {
      const auto block = pools_[group].find(sequence.hashes[static_cast<std::size_t>(i)]);
      TRIREME_CHECK(block.has_value(), "group=", group, " block index=", i);
      table[static_cast<std::size_t>(i)] = *block;
      entries.push_back(
          {sequence.slot, static_cast<std::int32_t>(group), static_cast<std::int32_t>(i), *block});
    }
    // Full groups take the room of the whole prompt now, so that no other admission can.
    while (shapes_[group].window == 0 && std::ssize(table) < num_blocks(num_tokens)) {
      const auto block = pools_[group].allocate();
      TRIREME_CHECK(block.has_value(), "group=", group);
      entries.push_back({sequence.slot, static_cast<std::int32_t>(group),
                         static_cast<std::int32_t>(table.size()), *block});
      table.push_back(*block);
    }
  }
  sequence.num_computed = cached;
  sequence.num_blocks_registered = cached / tokens_per_block_;
  num_reused_tokens_ += cached;
  return true;
}

bool BlockManager::extend(Sequence& sequence, std::int64_t end, std::vector<BlockEntry>& entries) {
  for (std::size_t group = 0; group < pools_.size(); ++group) {
    auto& table = sequence.block_tables[group];
    const auto visible = std::min<std::int64_t>(
        first_visible_block(sequence.num_computed, shapes_[group]), std::ssize(table));
    // Freed entries are at the front; the last freed one is followed by what is still there.
    for (std::int64_t i = visible - 1; i >= 0 && table[static_cast<std::size_t>(i)] >= 0; --i) {
      pools_[group].release(table[static_cast<std::size_t>(i)]);
      table[static_cast<std::size_t>(i)] = -1;
    }
  }
  for (std::size_t group = 0; group < pools_.size(); ++group) {
    const std::int64_t missing = num_blocks(end) - std::ssize(sequence.block_tables[group]);
    if (pools_[group].num_available() < missing) return false;
  }
  for (std::size_t group = 0; group < pools_.size(); ++group) {
    auto& table = sequence.block_tables[group];
    while (std::ssize(table) < num_blocks(end)) {
      const auto block = pools_[group].allocate();
      TRIREME_CHECK(block.has_value(), "group=", group);
      entries.push_back({sequence.slot, static_cast<std::int32_t>(group),
                         static_cast<std::int32_t>(table.size()), *block});
      table.push_back(*block);
    }
  }
  return true;
}

void BlockManager::register_full_blocks(Sequence& sequence) {
  if (!enable_reuse_) return;
  const std::int64_t known =
      std::min<std::int64_t>(sequence.num_computed, std::ssize(sequence.tokens()));
  const std::int64_t num_full = known / tokens_per_block_;
  if (num_full <= sequence.num_blocks_registered) return;
  extend_hashes(sequence);
  for (std::int64_t i = sequence.num_blocks_registered; i < num_full; ++i) {
    for (std::size_t group = 0; group < pools_.size(); ++group) {
      const std::int32_t block = sequence.block_tables[group][static_cast<std::size_t>(i)];
      if (block >= 0) {
        pools_[group].register_hash(block, sequence.hashes[static_cast<std::size_t>(i)]);
      }
    }
  }
  sequence.num_blocks_registered = num_full;
}

void BlockManager::release(Sequence& sequence) {
  for (std::size_t group = 0; group < sequence.block_tables.size(); ++group) {
    auto& table = sequence.block_tables[group];
    // Last block first: of a chain the tail goes out of the cache before its beginning.
    for (auto block = table.rbegin(); block != table.rend(); ++block) {
      if (*block >= 0) pools_[group].release(*block);
    }
    table.clear();
  }
  sequence.num_blocks_registered = 0;
}

double BlockManager::use() const {
  double most = 0;
  for (const BlockPool& pool : pools_) {
    if (pool.num_blocks() == 0) continue;
    most = std::max(most, 1.0 - static_cast<double>(pool.num_available()) / pool.num_blocks());
  }
  return most;
}

bool BlockManager::can_ever_hold(std::int64_t num_tokens, std::int64_t max_chunk) const {
  for (const PoolShape& shape : shapes_) {
    const std::int64_t needed =
        models::blocks_per_sequence(shape.window, num_tokens, max_chunk, tokens_per_block_);
    if (needed > shape.num_blocks) return false;
  }
  return true;
}

}  // namespace trireme::engine
