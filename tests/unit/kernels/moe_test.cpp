#include "kernels/moe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernel_data.h"

namespace trireme::kernels::cpu {
namespace {

TEST(RouteSoftmax, ChoosesTheLargestAndWeighsThem) {
  for (const InstructionSet set : available_sets()) {
    for (const std::int64_t num_experts : {1, 5, 16, 60, 128}) {
      const std::int64_t num_tokens = 4, top_k = std::min<std::int64_t>(num_experts, 6);
      const std::vector<float> logits = random_floats(num_tokens * num_experts, 1, 2.0f);
      for (const bool normalize : {false, true}) {
        std::vector<std::int32_t> ids(static_cast<std::size_t>(num_tokens * top_k));
        std::vector<float> weights(ids.size());

        route_softmax(logits.data(), num_tokens, num_experts, top_k, normalize, ids.data(),
                      weights.data(), set);

        for (std::int64_t token = 0; token < num_tokens; ++token) {
          const float* row = logits.data() + token * num_experts;
          std::vector<std::int32_t> order(static_cast<std::size_t>(num_experts));
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(),
                           [&](std::int32_t a, std::int32_t b) { return row[a] > row[b]; });
          double sum = 0;
          for (std::int64_t i = 0; i < (normalize ? top_k : num_experts); ++i) {
            sum += std::exp(static_cast<double>(row[order[i]]));
          }
          for (std::int64_t k = 0; k < top_k; ++k) {
            EXPECT_EQ(ids[token * top_k + k], order[k]);
            const double expected = std::exp(static_cast<double>(row[order[k]])) / sum;
            EXPECT_NEAR(weights[token * top_k + k], expected, 1e-6) << name_of(set);
          }
        }
      }
    }
  }
}

TEST(RouteSoftmax, BreaksTiesByLowestId) {
  const std::vector<float> logits = {1, 3, 3, 2, 3, 2};
  std::vector<std::int32_t> ids(5);
  std::vector<float> weights(5);

  route_softmax(logits.data(), 1, 6, 5, true, ids.data(), weights.data(), InstructionSet::generic);

  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 2, 4, 3, 5}));
}

TEST(SortByExpert, GroupsPairsInOrderAndLeavesOutThoseWithoutSlot) {
  const std::vector<std::int32_t> slots = {2, -1, 0, 2, 3, 0, -1, 2};
  std::vector<std::int32_t> begin(6), pair_at(8, 99), place(8);

  const std::int64_t num_placed =
      sort_by_expert(slots.data(), 8, 5, begin.data(), pair_at.data(), place.data());

  EXPECT_EQ(num_placed, 6);
  EXPECT_EQ(begin, (std::vector<std::int32_t>{0, 2, 2, 5, 6, 6}));
  EXPECT_EQ(pair_at, (std::vector<std::int32_t>{2, 5, 0, 3, 7, 4, 99, 99}));
  EXPECT_EQ(place, (std::vector<std::int32_t>{2, -1, 0, 3, 5, 1, -1, 4}));
}

TEST(SortByExpert, AcceptsNoPairs) {
  std::vector<std::int32_t> begin(4, 99);

  EXPECT_EQ(sort_by_expert(nullptr, 0, 3, begin.data(), nullptr, nullptr), 0);

  EXPECT_EQ(begin, (std::vector<std::int32_t>{0, 0, 0, 0}));
}

TEST(Combine, SumsTheWeightedPairsOfAToken) {
  const std::int64_t size = 21;
  const std::vector<float> pairs = random_floats(3 * size, 2);
  const std::vector<std::int32_t> places = {2, 0, -1, 1, -1, -1};
  const std::vector<float> weights = {0.5f, 2.0f, 9.0f, 3.0f, 9.0f, 9.0f};
  std::vector<float> y(3 * size, 777.0f);

  combine(pairs.data(), places.data(), weights.data(), 3, 2, size, y.data());

  for (std::int64_t i = 0; i < size; ++i) {
    EXPECT_FLOAT_EQ(y[i], 0.5f * pairs[2 * size + i] + 2.0f * pairs[i]);
    EXPECT_EQ(y[size + i], 3.0f * pairs[size + i]);
    EXPECT_EQ(y[2 * size + i], 0.0f);
  }
}

TEST(GatherRows, CopiesRowsInTheOrderGiven) {
  const std::vector<float> x = {0, 1, 99, 10, 11, 99, 20, 21, 99};
  const std::vector<std::int32_t> rows = {2, 0, 2};
  std::vector<float> y(6);

  gather_rows(x.data(), 3, rows.data(), 3, 2, y.data());

  EXPECT_EQ(y, (std::vector<float>{20, 21, 0, 1, 20, 21}));
}

}  // namespace
}  // namespace trireme::kernels::cpu
