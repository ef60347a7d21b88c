#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>

namespace trireme::test {
namespace {

using engine::BlockHash;
using engine::BlockPool;

BlockHash hash_of(std::uint64_t value) { return {value, ~value}; }

TEST(BlockPool, GivesEveryBlockOnceAndThenNone) {
  BlockPool pool(3);

  std::vector<std::int32_t> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(pool.allocate().value());

  std::sort(blocks.begin(), blocks.end());
  EXPECT_EQ(blocks, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_FALSE(pool.allocate().has_value());
  EXPECT_EQ(pool.num_available(), 0);
}

TEST(BlockPool, KeepsTheContentsOfAReleasedBlockUntilItIsNeeded) {
  BlockPool pool(2);
  const std::int32_t block = pool.allocate().value();
  pool.register_hash(block, hash_of(1));
  pool.release(block);

  EXPECT_EQ(pool.num_available(), 2);
  EXPECT_TRUE(pool.is_unreferenced(hash_of(1)));
  EXPECT_EQ(pool.find(hash_of(1)), block);
  EXPECT_FALSE(pool.is_unreferenced(hash_of(1)));
  pool.release(block);
  pool.allocate();
  EXPECT_TRUE(pool.contains(hash_of(1))) << "a free block goes first";
  pool.allocate();
  EXPECT_FALSE(pool.contains(hash_of(1)));
  EXPECT_FALSE(pool.find(hash_of(1)).has_value());
}

TEST(BlockPool, GivesAwayTheContentsUsedLeastRecently) {
  BlockPool pool(3);
  for (std::uint64_t value = 0; value < 3; ++value) {
    pool.register_hash(pool.allocate().value(), hash_of(value));
  }
  for (std::uint64_t value = 0; value < 3; ++value) {
    const std::int32_t block = pool.find(hash_of(value)).value();
    pool.release(block);
    pool.release(block);
  }
  pool.release(pool.find(hash_of(0)).value());  // used again: now the youngest

  pool.allocate();
  EXPECT_FALSE(pool.contains(hash_of(1)));
  pool.allocate();
  EXPECT_FALSE(pool.contains(hash_of(2)));
  EXPECT_TRUE(pool.contains(hash_of(0)));
}

TEST(BlockPool, ABlockWithAReferenceLeftIsNotGivenAway) {
  BlockPool pool(1);
  const std::int32_t block = pool.allocate().value();
  pool.register_hash(block, hash_of(1));
  pool.find(hash_of(1));
  pool.release(block);

  EXPECT_FALSE(pool.allocate().has_value());
  pool.release(block);
  EXPECT_EQ(pool.allocate(), block);
}

TEST(BlockPool, OfEqualContentsTheFirstStaysTheOneFound) {
  BlockPool pool(2);
  const std::int32_t first = pool.allocate().value();
  const std::int32_t second = pool.allocate().value();
  pool.register_hash(first, hash_of(1));
  pool.register_hash(second, hash_of(1));

  pool.release(second);

  EXPECT_EQ(pool.find(hash_of(1)), first);
  EXPECT_EQ(pool.allocate(), second) << "the copy holds nothing that could be found";
}

TEST(BlockPool, ChainedHashesNameAllTokensUpToTheBlocksEnd) {
  const std::int32_t tokens[] = {1, 2, 3, 4};
  const BlockHash seed{5, 6};
  const BlockHash first = engine::chain_hash(seed, tokens, 2);

  EXPECT_EQ(engine::chain_hash(first, tokens + 2, 2),
            engine::chain_hash(engine::chain_hash(seed, tokens, 2), tokens + 2, 2));
  EXPECT_NE(engine::chain_hash(seed, tokens + 2, 2), engine::chain_hash(first, tokens + 2, 2));
  EXPECT_NE(engine::chain_hash({5, 7}, tokens, 2), first) << "another run's";
  const std::int32_t swapped[] = {2, 1};
  EXPECT_NE(engine::chain_hash(seed, swapped, 2), first);
}

/// The pool's contract in its slowest form.
class NaivePool {
 public:
  explicit NaivePool(int num_blocks) : references_(static_cast<std::size_t>(num_blocks), 0) {}

  int num_available() const {
    return static_cast<int>(std::count(references_.begin(), references_.end(), 0));
  }
  /// Checks and notes what allocate() gave.
  void allocated(std::optional<std::int32_t> block) {
    ASSERT_EQ(block.has_value(), num_available() > 0);
    if (!block) return;
    ASSERT_EQ(references(*block), 0);
    const bool has_free = num_available() > static_cast<int>(kept_.size());
    const auto kept = std::find(kept_.begin(), kept_.end(), *block);
    if (has_free) {
      ASSERT_EQ(kept, kept_.end()) << "contents were given away while a block was free";
    } else {
      ASSERT_EQ(kept, kept_.begin()) << "not the least recently used";
      kept_.erase(kept);
      std::erase_if(by_hash_, [&](const auto& entry) { return entry.second == *block; });
    }
    references_[static_cast<std::size_t>(*block)] = 1;
  }
  std::optional<std::int32_t> find(std::uint64_t value) {
    const auto found = by_hash_.find(value);
    if (found == by_hash_.end()) return std::nullopt;
    if (references_[static_cast<std::size_t>(found->second)]++ == 0) kept_.remove(found->second);
    return found->second;
  }
  void register_hash(std::int32_t block, std::uint64_t value) {
    const bool has_hash = std::any_of(by_hash_.begin(), by_hash_.end(),
                                      [&](const auto& entry) { return entry.second == block; });
    if (!has_hash) by_hash_.emplace(value, block);
  }
  void release(std::int32_t block) {
    if (--references_[static_cast<std::size_t>(block)] > 0) return;
    const bool has_hash = std::any_of(by_hash_.begin(), by_hash_.end(),
                                      [&](const auto& entry) { return entry.second == block; });
    if (has_hash) kept_.push_back(block);
  }
  int references(std::int32_t block) const { return references_[static_cast<std::size_t>(block)]; }
  bool contains(std::uint64_t value) const { return by_hash_.contains(value); }

 private:
  std::vector<int> references_;
  std::map<std::uint64_t, std::int32_t> by_hash_;
  std::list<std::int32_t> kept_;  // oldest first
};

TEST(BlockPool, DoesWhatANaiveModelDoes) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto number = [&](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    const int num_blocks = number(1, 6);
    BlockPool pool(num_blocks);
    NaivePool naive(num_blocks);
    std::vector<std::int32_t> held;  // once per reference

    for (int turn = 0; turn < 400; ++turn) {
      const auto value = static_cast<std::uint64_t>(number(0, 7));
      switch (number(0, 3)) {
        case 0: {
          const auto block = pool.allocate();
          naive.allocated(block);
          if (block) held.push_back(*block);
          break;
        }
        case 1: {
          ASSERT_EQ(
              pool.is_unreferenced(hash_of(value)), naive.contains(value) && [&] {
                NaivePool copy = naive;
                return copy.references(copy.find(value).value()) == 1;
              }());
          const auto block = pool.find(hash_of(value));
          ASSERT_EQ(block, naive.find(value));
          if (block) held.push_back(*block);
          break;
        }
        case 2: {
          if (held.empty()) break;
          const std::int32_t block =
              held[static_cast<std::size_t>(number(0, static_cast<int>(held.size()) - 1))];
          pool.register_hash(block, hash_of(value));
          naive.register_hash(block, value);
          break;
        }
        default: {
          if (held.empty()) break;
          const auto at = held.begin() + number(0, static_cast<int>(held.size()) - 1);
          pool.release(*at);
          naive.release(*at);
          held.erase(at);
        }
      }
      ASSERT_EQ(pool.num_available(), naive.num_available());
      ASSERT_EQ(pool.contains(hash_of(value)), naive.contains(value));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace trireme::test
