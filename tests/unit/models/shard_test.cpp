#include "layers/shard.h"

#include <gtest/gtest.h>

#include "layers/linear.h"

namespace trireme::layers {
namespace {

TEST(HeadShard, SplitsQueryAndKvHeads) {
  const HeadShard shard = head_shard(8, 4, {.tp_size = 2, .tp_rank = 1});

  EXPECT_EQ(shard.num_heads, 4);
  EXPECT_EQ(shard.heads.begin, 4);
  EXPECT_EQ(shard.num_kv_heads, 2);
  EXPECT_EQ(shard.kv_heads.begin, 2);
  EXPECT_EQ(shard.kv_heads.end, 4);
  EXPECT_EQ(shard.kv_replicas, 1);
}

TEST(HeadShard, ReplicatesKvHeadsWhenThereAreMoreRanks) {
  for (int rank = 0; rank < 8; ++rank) {
    const HeadShard shard = head_shard(16, 2, {.tp_size = 8, .tp_rank = rank});

    EXPECT_EQ(shard.num_kv_heads, 1);
    EXPECT_EQ(shard.kv_replicas, 4);
    EXPECT_EQ(shard.kv_heads.begin, rank / 4);
    // The KV head is the one that this rank's query heads read in the whole model.
    EXPECT_EQ(shard.heads.begin / (16 / 2), shard.kv_heads.begin);
    EXPECT_EQ((shard.heads.end - 1) / (16 / 2), shard.kv_heads.begin);
  }
}

TEST(VocabRange, CoversTheVocabularyWithPaddingAtTheEnd) {
  const VocabRange first = vocab_range(10, {.tp_size = 4, .tp_rank = 0});
  const VocabRange last = vocab_range(10, {.tp_size = 4, .tp_rank = 3});

  EXPECT_EQ(first.num_columns, 3);
  EXPECT_EQ(first.num_valid, 3);
  EXPECT_EQ(last.begin, 9);
  EXPECT_EQ(last.num_valid, 1);
  EXPECT_EQ(last.num_columns, 3);
}

TEST(VocabRange, LeavesRanksBeyondASmallVocabularyEmpty) {
  const VocabRange range = vocab_range(5, {.tp_size = 4, .tp_rank = 3});

  EXPECT_EQ(range.begin, 5);
  EXPECT_EQ(range.num_valid, 0);
  EXPECT_EQ(range.num_columns, 2);
}

}  // namespace
}  // namespace trireme::layers
