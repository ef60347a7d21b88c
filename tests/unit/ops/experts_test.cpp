#include <gtest/gtest.h>

#include <algorithm>

#include <cmath>
#include <random>
#include <vector>

#include "base/error.h"
#include "ops/ops.h"

namespace trireme::ops {
namespace {

using kernels::cpu::InstructionSet;
using tensor::Tensor;

Tensor random_tensor(const tensor::Shape& shape, unsigned seed) {
  Tensor result(shape, DType::float32);
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  float* at = result.view().as<float>();
  for (std::int64_t i = 0; i < shape.num_elements(); ++i) at[i] = normal(engine);
  return result;
}

struct Layer {
  static constexpr std::int64_t kHidden = 24, kIntermediate = 20, kSlots = 4;
  Tensor x = random_tensor({5, kHidden}, 1);
  Tensor gate_up = random_tensor({kSlots, 2 * kIntermediate, kHidden}, 2);
  Tensor down = random_tensor({kSlots, kHidden, kIntermediate}, 3);

  double gate_up_at(std::int64_t row, std::int64_t slot, std::int64_t n) const {
    double sum = 0;
    for (std::int64_t k = 0; k < kHidden; ++k) {
      sum += x.view().as<float>()[row * kHidden + k] *
             gate_up.view().as<float>()[(slot * 2 * kIntermediate + n) * kHidden + k];
    }
    return sum;
  }

  std::vector<double> expected(std::int64_t row, std::int64_t slot) const {
    std::vector<double> inner, result;
    for (std::int64_t i = 0; i < kIntermediate; ++i) {
      const double gate = gate_up_at(row, slot, i);
      inner.push_back(gate / (1 + std::exp(-gate)) * gate_up_at(row, slot, kIntermediate + i));
    }
    for (std::int64_t n = 0; n < kHidden; ++n) {
      double sum = 0;
      for (std::int64_t i = 0; i < kIntermediate; ++i) {
        sum += inner[i] * down.view().as<float>()[(slot * kHidden + n) * kIntermediate + i];
      }
      result.push_back(sum);
    }
    return result;
  }
};

TEST(Experts, GiveEachPairItsExpertsNetwork) {
  const Layer layer;
  Context context(kernels::cpu::detect_instruction_set(), false);
  const std::vector<std::int32_t> row_of = {0, 0, 1, 2, 2, 4, 4, 3};
  const std::vector<std::int32_t> slots = {3, 0, -1, 3, 2, 0, -1, 3};

  const ExpertOutputs outputs = experts(context, layer.x, row_of, slots, layer.gate_up, layer.down);

  EXPECT_EQ(outputs.pairs.shape, (tensor::Shape{6, Layer::kHidden}));
  const auto* places = outputs.place_of_pair.as<std::int32_t>();
  for (std::size_t pair = 0; pair < slots.size(); ++pair) {
    if (slots[pair] < 0) {
      EXPECT_EQ(places[pair], -1);
      continue;
    }
    const std::vector<double> expected = layer.expected(row_of[pair], slots[pair]);
    const float* row = outputs.pairs.as<float>() + places[pair] * Layer::kHidden;
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(row[i], expected[i], 1e-5);
  }
}

TEST(Experts, AcceptNoPairsAndPairsThatAreAllLeftOut) {
  const Layer layer;
  Context context(InstructionSet::generic, false);

  const ExpertOutputs none = experts(context, layer.x, {}, {}, layer.gate_up, layer.down);
  const std::vector<std::int32_t> row_of = {1, 2}, slots = {-1, -1};
  const ExpertOutputs left_out =
      experts(context, layer.x, row_of, slots, layer.gate_up, layer.down);

  EXPECT_EQ(none.pairs.rows(), 0);
  EXPECT_EQ(none.place_of_pair.rows(), 0);
  EXPECT_EQ(left_out.pairs.rows(), 0);
  EXPECT_EQ(left_out.place_of_pair.as<std::int32_t>()[1], -1);
}

TEST(Experts, KeepTheirResultWhenTheArenaIsUsedAgain) {
  const Layer layer;
  Context context(InstructionSet::generic, false);
  const std::vector<std::int32_t> row_of = {0, 1}, slots = {1, 2};

  const ExpertOutputs outputs = experts(context, layer.x, row_of, slots, layer.gate_up, layer.down);
  const tensor::TensorView other = context.arena.take({1000}, DType::float32);
  std::fill_n(other.as<float>(), 1000, 777.0f);

  const auto* places = outputs.place_of_pair.as<std::int32_t>();
  EXPECT_NEAR(outputs.pairs.as<float>()[places[0] * Layer::kHidden], layer.expected(0, 1)[0], 1e-5);
  EXPECT_NEAR(outputs.pairs.as<float>()[places[1] * Layer::kHidden], layer.expected(1, 2)[0], 1e-5);
}

TEST(Experts, RefuseSlotsAndRowsThatAreNotThere) {
  const Layer layer;
  Context context(InstructionSet::generic, false);
  const std::vector<std::int32_t> good = {0}, large = {5}, low = {-2};

  EXPECT_THROW(experts(context, layer.x, good, large, layer.gate_up, layer.down), Error);
  EXPECT_THROW(experts(context, layer.x, large, good, layer.gate_up, layer.down), Error);
  EXPECT_THROW(experts(context, layer.x, good, low, layer.gate_up, layer.down), Error);
}

}  // namespace
}  // namespace trireme::ops
