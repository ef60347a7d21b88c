#include "text/merge_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace trireme::text {
namespace {

using Ids = std::vector<std::int32_t>;

/// Merges with the definition beside them: search the row for the lowest rank, again and again.
struct RandomMerges {
  MergeTable table{64};
  std::map<std::pair<std::int32_t, std::int32_t>, MergeTable::Merge> merges;

  /// Of symbols 0 to `num_symbols` - 1 and what comes of them, no two with the same symbols.
  RandomMerges(std::mt19937& random, int num_symbols, int num_merges) {
    std::vector<Ids> tokens;
    std::map<Ids, std::int32_t> id_of;
    const auto add_token = [&](const Ids& symbols) {
      const auto [found, is_new] = id_of.emplace(symbols, static_cast<std::int32_t>(tokens.size()));
      if (is_new) tokens.push_back(symbols);
      return found->second;
    };
    for (int symbol = 0; symbol < num_symbols; ++symbol) add_token({symbol});
    std::vector<std::uint32_t> ranks;
    for (int rank = 0; rank < num_merges; ++rank) ranks.push_back(rank);
    // Ranks in any order: merges of merges may come before those they need.
    if (random() % 2 == 0) std::shuffle(ranks.begin(), ranks.end(), random);
    for (const std::uint32_t rank : ranks) {
      const auto left = static_cast<std::int32_t>(random() % tokens.size());
      const auto right = static_cast<std::int32_t>(random() % tokens.size());
      if (merges.contains({left, right}) || tokens[left].size() + tokens[right].size() > 12)
        continue;
      Ids symbols = tokens[left];
      symbols.insert(symbols.end(), tokens[right].begin(), tokens[right].end());
      const MergeTable::Merge merge{rank, add_token(symbols)};
      merges[{left, right}] = merge;
      table.add(left, right, merge);
    }
  }

  Ids encode_by_definition(Ids row) const {
    while (true) {
      MergeTable::Merge best;
      std::size_t best_idx = 0;
      for (std::size_t idx = 0; idx + 1 < row.size(); ++idx) {
        const auto found = merges.find({row[idx], row[idx + 1]});
        if (found != merges.end() && found->second.rank < best.rank) {
          best = found->second;
          best_idx = idx;
        }
      }
      if (best.rank == MergeTable::kNoRank) return row;
      row[best_idx] = best.id;
      row.erase(row.begin() + static_cast<std::ptrdiff_t>(best_idx) + 1);
    }
  }

  Ids encode(const Ids& symbols, std::size_t chunk_symbols) const {
    MergeTable::Scratch scratch;
    Ids ids;
    table.encode(symbols, scratch, ids, chunk_symbols);
    return ids;
  }
};

Ids random_row(std::mt19937& random, int num_symbols, int size) {
  Ids row;
  const int period = random() % 3 == 0 ? 1 + static_cast<int>(random() % 5) : size;
  for (int idx = 0; idx < size; ++idx) {
    row.push_back(idx < period ? static_cast<std::int32_t>(random() % num_symbols)
                               : row[idx - period]);
  }
  return row;
}

TEST(MergeTable, EncodesByItsDefinitionWhateverTheChunks) {
  std::mt19937 random(11);
  for (int round = 0; round < 400; ++round) {
    const int num_symbols = 1 + static_cast<int>(random() % 4);
    const RandomMerges merges(random, num_symbols, 40);
    for (const int size : {0, 1, 2, 7, 24, 25, 90, 300}) {
      const Ids row = random_row(random, num_symbols, size);
      const Ids expected = merges.encode_by_definition(row);

      for (const std::size_t chunk_symbols : {4, 9, 16, 40, 2048}) {
        ASSERT_EQ(merges.encode(row, chunk_symbols), expected)
            << "round " << round << " size " << size << " chunk " << chunk_symbols;
      }
    }
  }
}

TEST(MergeTable, TakesTheLaterOfTwoMergesOfAPair) {
  MergeTable table(4);
  table.add(0, 1, {0, 2});
  table.add(0, 1, {1, 3});
  MergeTable::Scratch scratch;
  Ids ids;

  table.encode(Ids{0, 1}, scratch, ids);

  EXPECT_EQ(ids, Ids{3});
}

}  // namespace
}  // namespace trireme::text
