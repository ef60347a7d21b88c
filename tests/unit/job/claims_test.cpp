#include "job/claims.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace trireme::test {
namespace {

using job::ClaimPolicy;
using job::ClaimQueue;

using Portions = std::vector<std::vector<std::int64_t>>;

Portions take_all(ClaimPolicy policy) {
  ClaimQueue queue(std::move(policy));
  Portions portions;
  while (true) {
    std::vector<std::int64_t> portion = queue.take();
    if (portion.empty()) return portions;
    portions.push_back(std::move(portion));
  }
}

ClaimPolicy policy_of(std::vector<std::int64_t> work, std::int64_t num_groups = 1,
                      std::int64_t max_rows = 128) {
  ClaimPolicy policy;
  policy.num_rows = std::ssize(work);
  policy.num_groups = num_groups;
  policy.max_rows = max_rows;
  policy.work_of = [work = std::move(work)](std::int64_t begin, std::int64_t end) {
    return std::vector<std::int64_t>(work.begin() + begin, work.begin() + end);
  };
  return policy;
}

std::vector<std::int64_t> joined(const Portions& portions) {
  std::vector<std::int64_t> rows;
  for (const auto& portion : portions) rows.insert(rows.end(), portion.begin(), portion.end());
  return rows;
}

TEST(ClaimQueue, GivesTheLongestFirstAndTiesInOrder) {
  const Portions portions = take_all(policy_of({3, 9, 3, 1, 9}));

  EXPECT_EQ(joined(portions), (std::vector<std::int64_t>{1, 4, 0, 2, 3}));
}

TEST(ClaimQueue, APortionIsAQuarterOfAGroupsShareAndPortionsShrink) {
  const Portions portions = take_all(policy_of(std::vector<std::int64_t>(64, 10), 2));

  // 64 rows over 4 × 2: 8, then an eighth of what is left each time, at least one row.
  EXPECT_EQ(portions[0].size(), 8U);
  EXPECT_EQ(portions[1].size(), 7U);
  EXPECT_EQ(portions[2].size(), 6U);
  for (std::size_t i = 1; i < portions.size(); ++i) {
    EXPECT_LE(portions[i].size(), portions[i - 1].size()) << i;
  }
  EXPECT_EQ(portions.back().size(), 1U);
}

TEST(ClaimQueue, CountsWorkAndNotRows) {
  // One row is worth all others together.
  std::vector<std::int64_t> work(40, 1);
  work[17] = 40;

  const Portions portions = take_all(policy_of(work));

  EXPECT_EQ(portions[0], std::vector<std::int64_t>{17});
  EXPECT_EQ(portions[1].size(), 9U);  // a quarter of 39
}

TEST(ClaimQueue, NeverGivesMoreThanTwoFullBatches) {
  const Portions portions = take_all(policy_of(std::vector<std::int64_t>(1000, 1), 1, 16));

  EXPECT_EQ(portions[0].size(), 16U);
}

TEST(ClaimQueue, TakesWindowsInFileOrderAndReadsOneAtATime) {
  std::vector<std::int64_t> work(10);
  std::iota(work.begin(), work.end(), 1);
  ClaimPolicy policy = policy_of(work);
  policy.window_rows = 4;
  std::vector<std::pair<std::int64_t, std::int64_t>> reads;
  policy.work_of = [&, of = policy.work_of](std::int64_t begin, std::int64_t end) {
    reads.emplace_back(begin, end);
    return of(begin, end);
  };
  ClaimQueue queue(policy);

  EXPECT_TRUE(reads.empty());
  EXPECT_EQ(queue.take(), std::vector<std::int64_t>{3});
  EXPECT_EQ(reads.size(), 1U);
  std::vector<std::int64_t> rest;
  for (auto portion = queue.take(); !portion.empty(); portion = queue.take()) {
    rest.insert(rest.end(), portion.begin(), portion.end());
  }

  EXPECT_EQ(rest, (std::vector<std::int64_t>{2, 1, 0, 7, 6, 5, 4, 9, 8}));
  EXPECT_EQ(reads, (std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 4}, {4, 8}, {8, 10}}));
}

TEST(ClaimQueue, SaysThatThereIsNoMoreAgainAndAgain) {
  ClaimQueue queue(policy_of({5}));

  EXPECT_EQ(queue.take(), std::vector<std::int64_t>{0});
  EXPECT_TRUE(queue.take().empty());
  EXPECT_TRUE(queue.take().empty());
}

TEST(ClaimQueue, RowsWithoutWorkAreGivenToo) {
  EXPECT_EQ(joined(take_all(policy_of({0, 0, -5}))).size(), 3U);
}

TEST(ClaimQueue, GivesEveryRowOnceAndKeepsTheTailShort) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto number = [&](int low, int high) {
      return std::uniform_int_distribution(low, high)(random);
    };
    std::vector<std::int64_t> work(static_cast<std::size_t>(number(1, 300)));
    // Heavy-tailed, as lengths are.
    for (auto& of_row : work) of_row = number(1, 20) * (number(0, 9) == 0 ? number(1, 50) : 1);
    ClaimPolicy policy = policy_of(work, number(1, 8), number(1, 64));
    policy.window_rows = number(1, 400);
    const std::int64_t num_groups = policy.num_groups, window_rows = policy.window_rows;

    const Portions portions = take_all(policy);

    std::vector<std::int64_t> rows = joined(portions);
    std::sort(rows.begin(), rows.end());
    std::vector<std::int64_t> all(work.size());
    std::iota(all.begin(), all.end(), 0);
    ASSERT_EQ(rows, all);
    // No portion of several rows is worth more than its part of what its window still holds.
    std::int64_t window = -1, left = 0;
    for (const auto& portion : portions) {
      if (portion.front() / window_rows != window) {
        window = portion.front() / window_rows;
        left = std::accumulate(
            work.begin() + window * window_rows,
            work.begin() + std::min<std::int64_t>(std::ssize(work), (window + 1) * window_rows),
            std::int64_t{0});
      }
      std::int64_t worth = 0;
      for (const std::int64_t row : portion) {
        ASSERT_EQ(row / window_rows, window);
        worth += work[static_cast<std::size_t>(row)];
      }
      if (portion.size() > 1) {
        ASSERT_LE(worth * 4 * num_groups, left);
      }
      left -= worth;
    }
  }
}

}  // namespace
}  // namespace trireme::test
