#include "checkpoint/load_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace trireme::checkpoint {
namespace {

TEST(Runs, CoverASliceOfEachDimension) {
  const tensor::Shape shape{4, 6};

  const Runs rows = runs_of_slice(shape, {0, 1, 3});
  const Runs columns = runs_of_slice(shape, {1, 2, 4});

  EXPECT_EQ(rows.count, 1);
  EXPECT_EQ(rows.offset, 6);
  EXPECT_EQ(rows.num_elements(), 12);
  EXPECT_EQ(columns.count, 4);
  EXPECT_EQ(columns.num_elements(), 8);
  EXPECT_EQ(columns.element(0), 2);
  EXPECT_EQ(columns.element(3), 9);
  EXPECT_EQ(columns.end(), 22);
}

TEST(Runs, CountWhatStandsBefore) {
  const Runs columns = runs_of_slice({4, 6}, {1, 2, 4});  // 2 3, 8 9, 14 15, 20 21

  EXPECT_EQ(columns.count_before(0), 0);
  EXPECT_EQ(columns.count_before(2), 0);
  EXPECT_EQ(columns.count_before(3), 1);
  EXPECT_EQ(columns.count_before(8), 2);
  EXPECT_EQ(columns.count_before(15), 5);
  EXPECT_EQ(columns.count_before(24), 8);
}

TEST(Runs, AreOneForAllOfATensorAndNoneForNothing) {
  EXPECT_EQ(runs_of_slice({4, 6}, {}).num_elements(), 24);
  EXPECT_EQ(runs_of_slice({4, 6}, {1, 0, 6}).count, 1);
  EXPECT_EQ(runs_of_slice({4, 6}, {0, 4, 4}).num_elements(), 0);
  EXPECT_EQ(runs_of_slice({}, {}).num_elements(), 1);
}

/// Every wanted element is in exactly one piece, which knows the want; readers are among the
/// wanters.
void expect_complete(const std::vector<WantedSlice>& wants, const std::vector<Round>& rounds,
                     std::int64_t max_bytes, std::int64_t element_bytes, int num_ranks) {
  std::map<std::pair<std::int32_t, std::int64_t>, const Piece*> piece_of;
  for (const Round& round : rounds) {
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(num_ranks), 0);
    for (const Piece& piece : round) {
      bytes[static_cast<std::size_t>(piece.reader)] += (piece.end - piece.begin) * element_bytes;
      std::set<int> wanters;
      for (const std::int32_t want : piece.wants)
        wanters.insert(wants[static_cast<std::size_t>(want)].rank);
      EXPECT_TRUE(wanters.contains(piece.reader));
      for (std::int64_t element = piece.begin; element < piece.end; ++element) {
        EXPECT_TRUE(piece_of.insert({{piece.tensor_idx, element}, &piece}).second);
      }
    }
    for (const std::int64_t of_rank : bytes) EXPECT_LE(of_rank, max_bytes);
  }
  for (std::size_t i = 0; i < wants.size(); ++i) {
    for (std::int64_t nth = 0; nth < wants[i].runs.num_elements(); ++nth) {
      const auto found = piece_of.find({wants[i].tensor_idx, wants[i].runs.element(nth)});
      ASSERT_NE(found, piece_of.end());
      const auto& known = found->second->wants;
      EXPECT_NE(std::find(known.begin(), known.end(), static_cast<std::int32_t>(i)), known.end());
    }
  }
}

TEST(LoadPlan, ReadsEachElementOnceAndBalances) {
  const tensor::Shape shape{8, 10};
  std::vector<WantedSlice> wants;
  for (int rank = 0; rank < 4; ++rank) {
    wants.push_back({rank, 0, runs_of_slice(shape, {})});
    wants.push_back({rank, 1, runs_of_slice(shape, {0, 2 * rank, 2 * rank + 2})});
    wants.push_back({rank, 2, runs_of_slice({7, 12}, {1, 3 * rank, 3 * rank + 3})});
  }
  const std::vector<std::int64_t> element_bytes = {2, 2, 2};

  const std::vector<Round> rounds = plan_load(wants, element_bytes, 4, 24);

  expect_complete(wants, rounds, 24, 2, 4);
  std::vector<std::int64_t> elements(4, 0);
  for (const Round& round : rounds) {
    for (const Piece& piece : round) {
      elements[static_cast<std::size_t>(piece.reader)] += piece.end - piece.begin;
    }
  }
  EXPECT_EQ(elements[0] + elements[1] + elements[2] + elements[3], 80 + 80 + 84);
  for (const std::int64_t of_rank : elements) EXPECT_NEAR(static_cast<double>(of_rank), 61, 13);
}

TEST(LoadPlan, LeavesOutWhatNobodyWants) {
  const std::vector<WantedSlice> wants = {{0, 0, runs_of_slice({100}, {0, 10, 20})},
                                          {1, 0, runs_of_slice({100}, {0, 60, 70})}};

  const std::vector<Round> rounds = plan_load(wants, std::vector<std::int64_t>{4}, 2, 1000);

  ASSERT_EQ(rounds.size(), 1U);
  ASSERT_EQ(rounds[0].size(), 2U);
  EXPECT_EQ(rounds[0][0].begin, 10);
  EXPECT_EQ(rounds[0][0].end, 20);
  EXPECT_EQ(rounds[0][0].reader, 0);
  EXPECT_EQ(rounds[0][1].begin, 60);
  EXPECT_EQ(rounds[0][1].reader, 1);
}

TEST(LoadPlan, IsEmptyIfNothingIsWanted) {
  EXPECT_TRUE(plan_load({}, {}, 2, 1000).empty());
  const std::vector<WantedSlice> nothing = {{0, 0, runs_of_slice({4}, {0, 4, 4})}};
  EXPECT_TRUE(plan_load(nothing, std::vector<std::int64_t>{4}, 1, 1000).empty());
}

}  // namespace
}  // namespace trireme::checkpoint
