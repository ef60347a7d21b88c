#include <gtest/gtest.h>

#include <algorithm>

#include <vector>

#include "base/error.h"
#include "ops/ops.h"

namespace trireme::ops {
namespace {

using kernels::cpu::InstructionSet;
using tensor::Tensor;

Tensor filled(const tensor::Shape& shape, float value) {
  Tensor result(shape, DType::float32);
  std::fill_n(result.view().as<float>(), shape.num_elements(), value);
  return result;
}

TEST(Linear, MultipliesStridedViewsAndAddsTheBias) {
  Context context(InstructionSet::generic, false);
  const Tensor x = filled({3, 10}, 2.0f), weight = filled({4, 6}, 0.5f), bias = filled({4}, 1.0f);
  const Tensor y = filled({3, 9}, 777.0f);

  linear(context, x.view().columns(2, 8), weight, &bias.view(), y.view().columns(1, 5));

  for (std::int64_t row = 0; row < 3; ++row) {
    for (std::int64_t i = 0; i < 9; ++i) {
      EXPECT_EQ(y.view().as<float>()[row * 9 + i], i >= 1 && i < 5 ? 7.0f : 777.0f);
    }
  }
}

TEST(Linear, RefusesShapesAndTypesThatDoNotFit) {
  Context context(InstructionSet::generic, false);
  const Tensor x = filled({3, 6}, 1), weight = filled({4, 6}, 1), y = filled({3, 4}, 0);
  const Tensor narrow = filled({4, 5}, 1), bias = filled({3}, 1), few = filled({2, 4}, 0);
  const Tensor integers({4, 6}, DType::int32);

  EXPECT_THROW(linear(context, x, narrow, nullptr, y), Error);
  EXPECT_THROW(linear(context, x, weight, &bias.view(), y), Error);
  EXPECT_THROW(linear(context, x, weight, nullptr, few), Error);
  EXPECT_THROW(linear(context, x, integers, nullptr, y), Error);
  EXPECT_THROW(linear(context, integers, weight, nullptr, y), Error);
}

TEST(Rope, RefusesPositionsOutsideOfTheTable) {
  Context context(InstructionSet::generic, false);
  const Tensor x = filled({2, 16}, 1), table = filled({4, 8}, 1);
  const std::vector<std::int32_t> good = {0, 3}, high = {0, 4}, low = {-1, 0}, few = {0};

  EXPECT_NO_THROW(rope(context, x, 2, good, table));
  EXPECT_THROW(rope(context, x, 2, high, table), Error);
  EXPECT_THROW(rope(context, x, 2, low, table), Error);
  EXPECT_THROW(rope(context, x, 2, few, table), Error);
  EXPECT_THROW(rope(context, x, 3, good, table), Error);
}

struct Cache {
  Tensor k = filled({2, 1, 4, 8}, 0), v = filled({2, 1, 4, 8}, 0);
  kernels::KvCache view{k.view().data, v.view().data, DType::float32, 2, 1, 4, 8};
};

TEST(AppendKv, RefusesSlotsOutsideOfTheCache) {
  Context context(InstructionSet::generic, false);
  const Cache cache;
  const Tensor k = filled({1, 8}, 1), v = filled({1, 8}, 2);
  const std::vector<std::int64_t> good = {7}, high = {8}, low = {-1};

  append_kv(context, k, v, good, cache.view);

  EXPECT_EQ(cache.k.view().as<float>()[7 * 8], 1.0f);
  EXPECT_EQ(cache.v.view().as<float>()[7 * 8], 2.0f);
  EXPECT_THROW(append_kv(context, k, v, high, cache.view), Error);
  EXPECT_THROW(append_kv(context, k, v, low, cache.view), Error);
}

TEST(Attention, RefusesSequencesLongerThanTheirBlocks) {
  Context context(InstructionSet::generic, false);
  const Cache cache;
  const Tensor q = filled({1, 8}, 1), out = filled({1, 8}, 0);
  const std::vector<std::int32_t> q_begin = {0, 1}, table = {0, 1}, last = {7}, behind = {8};
  const kernels::AttentionBatch good{1, q_begin.data(), last.data(), table.data(), 2};
  const kernels::AttentionBatch bad{1, q_begin.data(), behind.data(), table.data(), 2};

  EXPECT_NO_THROW(attention(context, q, 1, 1.0f, 0, cache.view, good, out));
  EXPECT_THROW(attention(context, q, 1, 1.0f, 0, cache.view, bad, out), Error);
  EXPECT_THROW(attention(context, q, 2, 1.0f, 0, cache.view, good, out), Error);
}

TEST(Combine, RefusesPlacesThatAreNotThere) {
  Context context(InstructionSet::generic, false);
  const Tensor pairs = filled({2, 3}, 1), weights = filled({1, 2}, 0.5f), y = filled({1, 3}, 0);
  const std::vector<std::int32_t> good = {1, -1}, high = {0, 2};

  combine(context, pairs, good, weights, y);

  EXPECT_EQ(y.view().as<float>()[0], 0.5f);
  EXPECT_THROW(combine(context, pairs, high, weights, y), Error);
}

TEST(Operators, AcceptZeroRows) {
  Context context(InstructionSet::generic, false);
  const Tensor none = filled({0, 8}, 0), weight = filled({4, 8}, 1), y = filled({0, 4}, 0);
  const Tensor norm = filled({8}, 1), table = filled({3, 8}, 1), sums = filled({0}, 0);

  EXPECT_NO_THROW(linear(context, none, weight, nullptr, y));
  EXPECT_NO_THROW(rms_norm(context, none, norm, 1e-5f, none));
  EXPECT_NO_THROW(sum_of_squares(context, none, sums));
  EXPECT_NO_THROW(add(context, none, none));
  EXPECT_NO_THROW(rope(context, none, 1, {}, table));
  EXPECT_NO_THROW(silu_and_mul(context, none, y));
  EXPECT_NO_THROW(embedding(context, {}, table, 0, none));
}

}  // namespace
}  // namespace trireme::ops
