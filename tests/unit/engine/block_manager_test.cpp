#include "engine/block_manager.h"

#include <gtest/gtest.h>

#include <numeric>

namespace trireme::test {
namespace {

using namespace trireme::engine;

constexpr std::int64_t kTokensPerBlock = 4;
constexpr std::int64_t kAnyChunk = 64;

class BlockManagerTest : public testing::Test {
 protected:
  void make(std::vector<PoolShape> pools, bool enable_reuse = true) {
    blocks_.emplace(std::move(pools), kTokensPerBlock, enable_reuse, 1);
  }
  std::unique_ptr<Sequence> sequence(std::vector<std::int32_t> tokens,
                                     bool prompt_logprobs = false) {
    auto request = std::make_shared<Request>();
    request->prompt_tokens = std::move(tokens);
    request->params.prompt_logprobs = prompt_logprobs;
    return std::make_unique<Sequence>(request, 0, rules_);
  }
  std::unique_ptr<Sequence> counting(std::int32_t count, std::int32_t last = 0) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
    std::iota(tokens.begin(), tokens.end(), 0);
    tokens.back() += last;
    return sequence(std::move(tokens));
  }
  /// Admits and "computes" the whole prompt.
  bool prefill(Sequence& sequence) {
    entries_.clear();
    if (!blocks_->admit(sequence, kAnyChunk, 0, entries_)) return false;
    const auto length = std::ssize(sequence.tokens());
    if (!blocks_->extend(sequence, length, entries_)) return false;
    sequence.num_computed = length;
    return true;
  }
  std::int64_t reused() const { return blocks_->num_reused_tokens(); }

  TextRules rules_{.tokenizer = nullptr, .eos_token_ids = {}, .max_seq_len = 1000};
  std::optional<BlockManager> blocks_;
  std::vector<BlockEntry> entries_;
};

TEST_F(BlockManagerTest, GivesAFullGroupTheRoomOfTheWholePrompt) {
  make({{0, 4}});
  const auto first = counting(9);

  ASSERT_TRUE(blocks_->admit(*first, 1, 0, entries_));

  EXPECT_EQ(entries_.size(), 3U);
  EXPECT_EQ(entries_[2].index, 2);
  EXPECT_EQ(first->block_tables[0].size(), 3U);
  EXPECT_DOUBLE_EQ(blocks_->use(), 0.75);
}

TEST_F(BlockManagerTest, AdmitsOnlyIfTheShareToKeepStaysFree) {
  make({{0, 10}});
  const auto first = counting(36);

  EXPECT_FALSE(blocks_->admit(*first, kAnyChunk, 0.11, entries_));
  EXPECT_TRUE(entries_.empty());
  EXPECT_DOUBLE_EQ(blocks_->use(), 0);
  EXPECT_TRUE(blocks_->admit(*first, kAnyChunk, 0.10, entries_));
}

TEST_F(BlockManagerTest, FindsFullBlocksOfAnEqualBeginningOnceTheyAreRegistered) {
  make({{0, 16}});
  const auto first = counting(10);
  ASSERT_TRUE(prefill(*first));
  const auto early = counting(10);
  ASSERT_TRUE(prefill(*early));
  EXPECT_EQ(reused(), 0) << "found in the step that fills it";

  blocks_->register_full_blocks(*first);
  const auto second = counting(10, 100);
  ASSERT_TRUE(prefill(*second));

  EXPECT_EQ(reused(), 8);
  EXPECT_EQ(second->block_tables[0][0], first->block_tables[0][0]);
  EXPECT_EQ(second->block_tables[0][1], first->block_tables[0][1]);
  EXPECT_NE(second->block_tables[0][2], first->block_tables[0][2]);
  EXPECT_EQ(entries_.size(), 3U) << "the members learn of found blocks too";
}

TEST_F(BlockManagerTest, AlwaysLeavesTheLastTokenToCompute) {
  make({{0, 16}});
  const auto first = counting(8);
  ASSERT_TRUE(prefill(*first));
  blocks_->register_full_blocks(*first);

  const auto second = counting(8);
  ASSERT_TRUE(prefill(*second));

  EXPECT_EQ(reused(), 4);
}

TEST_F(BlockManagerTest, DoesNotReuseWithoutReuseOrForScoring) {
  make({{0, 16}}, false);
  for (int i = 0; i < 2; ++i) {
    const auto one = counting(10);
    ASSERT_TRUE(prefill(*one));
    blocks_->register_full_blocks(*one);
    blocks_->release(*one);
  }
  EXPECT_EQ(reused(), 0);

  make({{0, 16}});
  const auto first = counting(10);
  ASSERT_TRUE(prefill(*first));
  blocks_->register_full_blocks(*first);
  const auto scored = sequence(first->tokens(), true);
  ASSERT_TRUE(prefill(*scored));
  EXPECT_EQ(reused(), 0);
}

TEST_F(BlockManagerTest, ReleasedBlocksStayUntilTheyAreNeededAndGoFromTheEnd) {
  make({{0, 4}});
  const auto first = counting(16);
  ASSERT_TRUE(prefill(*first));
  blocks_->register_full_blocks(*first);
  blocks_->release(*first);
  EXPECT_DOUBLE_EQ(blocks_->use(), 0);
  const auto other = sequence({50, 51, 52, 53, 54});
  ASSERT_TRUE(prefill(*other));  // takes two
  blocks_->release(*other);

  const auto again = counting(16);
  ASSERT_TRUE(prefill(*again));

  EXPECT_EQ(reused(), 8);
}

TEST_F(BlockManagerTest, TakesNothingWhenOneGroupIsShort) {
  make({{0, 8}, {8, 2}});
  const auto first = counting(5);
  ASSERT_TRUE(blocks_->admit(*first, 5, 0, entries_));
  ASSERT_TRUE(blocks_->extend(*first, 5, entries_));
  const std::size_t num_entries = entries_.size();

  EXPECT_FALSE(blocks_->extend(*first, 9, entries_));

  EXPECT_EQ(entries_.size(), num_entries);
  EXPECT_EQ(first->block_tables[0].size(), 2U);
}

TEST_F(BlockManagerTest, AWindowGroupGivesBackWhatNoLaterTokenSees) {
  make({{6, 4}});
  const auto first = counting(40);
  std::int64_t most = 0;

  ASSERT_TRUE(blocks_->admit(*first, 4, 0, entries_));
  for (std::int64_t end = 4; end <= 40; end += 4) {
    ASSERT_TRUE(blocks_->extend(*first, end, entries_)) << end;
    const auto& table = first->block_tables[0];
    const auto held =
        std::count_if(table.begin(), table.end(), [](auto block) { return block >= 0; });
    most = std::max<std::int64_t>(most, held);
    // The next chunk's first token sees 5 positions before it.
    for (auto position = std::max<std::int64_t>(0, end - 4 - 5); position < end; ++position) {
      ASSERT_GE(table[static_cast<std::size_t>(position / kTokensPerBlock)], 0) << position;
    }
    first->num_computed = end;
  }

  EXPECT_LE(most, 3);
  EXPECT_EQ(first->block_tables[0].size(), 10U);
}

TEST_F(BlockManagerTest, AHitInAWindowGroupNeedsTheLastWindowOnly) {
  make({{0, 32}, {6, 32}});
  const auto first = counting(24);
  ASSERT_TRUE(blocks_->admit(*first, 4, 0, entries_));
  for (std::int64_t end = 4; end <= 24; end += 4) {
    ASSERT_TRUE(blocks_->extend(*first, end, entries_));
    first->num_computed = end;
    blocks_->register_full_blocks(*first);
  }
  blocks_->release(*first);
  const auto second = counting(24);

  entries_.clear();
  ASSERT_TRUE(blocks_->admit(*second, kAnyChunk, 0, entries_));

  EXPECT_EQ(reused(), 20);
  // Position 20 sees 15 to 19: blocks 3 and 4 of the window group, all five of the full one.
  EXPECT_EQ(second->block_tables[1][2], -1);
  EXPECT_GE(second->block_tables[1][3], 0);
  EXPECT_GE(second->block_tables[1][4], 0);
  EXPECT_GE(second->block_tables[0][0], 0);
}

TEST_F(BlockManagerTest, KnowsWhatFitsWhenAlone) {
  // A chunk of 4 sees 5 positions before it: 9 positions lie in at most 3 blocks of 4, or 4.
  make({{6, 3}});
  EXPECT_TRUE(blocks_->can_ever_hold(1000, 4));
  EXPECT_FALSE(blocks_->can_ever_hold(1000, 8));
  EXPECT_TRUE(blocks_->can_ever_hold(12, 8)) << "short sequences need no more than their length";
  make({{0, 3}});
  EXPECT_TRUE(blocks_->can_ever_hold(12, 4));
  EXPECT_FALSE(blocks_->can_ever_hold(13, 4));
}

TEST_F(BlockManagerTest, WhatFitsWhenAloneIsAdmittedWhateverIsCached) {
  for (const std::int64_t window : {2, 5, 6, 17}) {
    for (const std::int64_t chunk : {1, 4, 7, 16}) {
      std::int32_t least = 1;
      for (; make({{window, least}}), !blocks_->can_ever_hold(60, chunk); ++least) {
      }
      const auto run = [&] {
        const auto one = counting(60);
        entries_.clear();
        ASSERT_TRUE(blocks_->admit(*one, chunk, 0, entries_)) << window << " " << chunk;
        while (one->num_computed < 60) {
          const std::int64_t end = std::min<std::int64_t>(60, one->num_computed + chunk);
          ASSERT_TRUE(blocks_->extend(*one, end, entries_)) << window << " " << chunk << " " << end;
          one->num_computed = end;
          blocks_->register_full_blocks(*one);
        }
        blocks_->release(*one);
      };
      run();
      run();
    }
  }
  EXPECT_GT(reused(), 0);
}

}  // namespace
}  // namespace trireme::test
