#include "kernels/moe.h"

#include <algorithm>
#include <numeric>

#include "device_data.h"
#include "kernels/activation.h"

namespace trireme::kernels {
namespace {

const auto kSet = cpu::InstructionSet::generic;

TEST(CudaRouteSoftmax, ChoosesAsTheCpuAlsoAmongEqualLogits) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const std::int64_t num_experts : {1, 5, 16, 60, 128, 200, 384}) {
    for (const bool normalize : {false, true}) {
      const std::int64_t num_tokens = 37, top_k = std::min<std::int64_t>(num_experts, 8);
      std::vector<float> logits = random_floats(num_tokens * num_experts, 1, 2.0f);
      // The second half has few values, so many ties.
      for (std::size_t i = logits.size() / 2; i < logits.size(); ++i) {
        logits[i] = std::round(logits[i]);
      }
      std::vector<std::int32_t> ids(static_cast<std::size_t>(num_tokens * top_k));
      std::vector<float> weights(ids.size());
      cpu::route_softmax(logits.data(), num_tokens, num_experts, top_k, normalize, ids.data(),
                         weights.data(), kSet);
      const OnDevice<float> logits_there(logits), weights_there(ids.size());
      const OnDevice<std::int32_t> ids_there(ids.size());

      cuda::route_softmax({.logits = logits_there.data(),
                           .num_tokens = num_tokens,
                           .num_experts = num_experts,
                           .top_k = top_k,
                           .normalize = normalize,
                           .ids = ids_there.data(),
                           .weights = weights_there.data()},
                          stream.get());
      stream.synchronize();

      EXPECT_EQ(ids_there.values(), ids) << num_experts << " experts";
      expect_near(weights_there.values(), weights, 2e-6f, std::to_string(num_experts));
    }
  }
}

TEST(CudaRouteSoftmax, GivesValidIdsForLogitsThatAreNoNumbers) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  std::vector<float> logits(40, std::nanf(""));
  logits[17] = 1.0f;
  const OnDevice<float> logits_there(logits), weights(std::size_t{4});
  const OnDevice<std::int32_t> ids(std::size_t{4});

  cuda::route_softmax({.logits = logits_there.data(),
                       .num_tokens = 1,
                       .num_experts = 40,
                       .top_k = 4,
                       .normalize = true,
                       .ids = ids.data(),
                       .weights = weights.data()},
                      stream.get());
  stream.synchronize();

  EXPECT_EQ(ids.values(), (std::vector<std::int32_t>{17, 0, 1, 2}));
}

std::vector<std::int32_t> random_slots(std::int64_t num_pairs, std::int64_t num_slots,
                                       bool is_skewed) {
  std::mt19937 engine(7);
  std::vector<std::int32_t> slots;
  for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
    auto slot = static_cast<std::int32_t>(engine() % static_cast<unsigned>(num_slots + 1)) - 1;
    if (is_skewed && engine() % 2 == 0) slot = 0;
    slots.push_back(slot);
  }
  return slots;
}

TEST(CudaSortByExpert, PlacesPairsAsTheCpu) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const std::int64_t num_slots : {1, 7, 128, 1000}) {
    for (const std::int64_t num_pairs : {1, 31, 500, 2048, 2049, 20000}) {
      for (const bool is_skewed : {false, true}) {
        const std::vector<std::int32_t> slots = random_slots(num_pairs, num_slots, is_skewed);
        std::vector<std::int32_t> begin(static_cast<std::size_t>(num_slots) + 1);
        std::vector<std::int32_t> pair_at(slots.size(), -1), place(slots.size());
        cpu::sort_by_expert(slots.data(), num_pairs, num_slots, begin.data(), pair_at.data(),
                            place.data());
        const OnDevice<std::int32_t> slots_there(slots), begin_there(begin.size()),
            pair_at_there(slots.size()), place_there(slots.size()),
            workspace(static_cast<std::size_t>(cuda::sort_workspace_size(num_pairs, num_slots)));

        cuda::sort_by_expert(slots_there.data(), num_pairs, num_slots, begin_there.data(),
                             pair_at_there.data(), place_there.data(), workspace.data(),
                             stream.get());
        stream.synchronize();

        EXPECT_EQ(begin_there.values(), begin) << num_pairs << " pairs, " << num_slots;
        EXPECT_EQ(pair_at_there.values(), pair_at) << num_pairs << " pairs, " << num_slots;
        EXPECT_EQ(place_there.values(), place) << num_pairs << " pairs, " << num_slots;
      }
    }
  }
}

TEST(CudaGatherAndCombine, AgreeWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  const std::int64_t num_tokens = 45, top_k = 5, num_pairs = num_tokens * top_k, num_slots = 9;
  const std::vector<std::int32_t> slots = random_slots(num_pairs, num_slots, false);
  std::vector<std::int32_t> begin(num_slots + 1), pair_at(num_pairs), place(num_pairs);
  const std::int64_t num_placed = cpu::sort_by_expert(slots.data(), num_pairs, num_slots,
                                                      begin.data(), pair_at.data(), place.data());
  const std::vector<float> weights = random_floats(num_pairs, 5);
  const OnDevice<std::int32_t> begin_there(begin), pair_at_there(pair_at), place_there(place);
  const OnDevice<float> weights_there(weights);
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t size : {21, 2048}) {
      const TypedValues x = to_dtype(random_floats(num_tokens * size, 3), dtype);
      std::vector<std::int32_t> rows;
      for (std::int64_t i = 0; i < num_placed; ++i) rows.push_back(pair_at[i] / 5);
      std::vector<float> gathered(static_cast<std::size_t>(num_placed * size));
      std::vector<float> combined(static_cast<std::size_t>(num_tokens * size));
      cpu::gather_rows(x.floats.data(), size, rows.data(), num_placed, size, gathered.data());
      cpu::combine(gathered.data(), place.data(), weights.data(), num_tokens, top_k, size,
                   combined.data());
      const Bytes x_there = upload(x), pairs = room_for(num_pairs * size, dtype),
                  y = room_for(num_tokens * size, dtype);

      cuda::gather_rows(x_there.data(), size, pair_at_there.data(), top_k,
                        begin_there.data() + num_slots, num_pairs, size, pairs.data(), dtype,
                        stream.get());
      cuda::combine(pairs.data(), place_there.data(), weights_there.data(), num_tokens, top_k, size,
                    y.data(), dtype, stream.get());
      stream.synchronize();

      std::vector<float> actual = to_floats(pairs.values(), dtype);
      actual.resize(gathered.size());
      EXPECT_EQ(actual, gathered);
      expect_near(to_floats(y.values(), dtype), combined, tolerance(dtype), "combine", 2.0f);
    }
  }
}

struct ProductShape {
  std::int64_t num_tokens, top_k, num_slots, n, k;
};
const std::vector<ProductShape> kProducts = {
    {1, 8, 16, 256, 512}, {50, 4, 16, 384, 136}, {300, 4, 16, 96, 200}, {700, 4, 8, 320, 72},
    {9, 2, 5, 64, 30},    {1, 1, 1, 1536, 2048}, {130, 2, 3, 32, 1024}, {8, 8, 128, 96, 200},
    {8, 8, 16, 160, 768}, {4, 8, 1000, 32, 8},   {2, 8, 128, 1536, 64},
};

TEST(CudaGroupedProduct, IsTheProductOfEachExpert) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const ProductShape& s : kProducts) {
      for (const bool has_silu : {false, true}) {
        const std::int64_t num_pairs = s.num_tokens * s.top_k;
        const std::vector<std::int32_t> slots = random_slots(num_pairs, s.num_slots, true);
        std::vector<std::int32_t> begin(static_cast<std::size_t>(s.num_slots) + 1),
            pair_at(slots.size()), place(slots.size());
        const std::int64_t num_placed = cpu::sort_by_expert(
            slots.data(), num_pairs, s.num_slots, begin.data(), pair_at.data(), place.data());
        const TypedValues x = to_dtype(random_floats(s.num_tokens * s.k, 1), dtype);
        const float scale = 1.0f / std::sqrt(static_cast<float>(s.k));
        const TypedValues w = to_dtype(random_floats(s.num_slots * s.n * s.k, 2, scale), dtype);
        const std::int64_t y_size = has_silu ? s.n / 2 : s.n;
        std::vector<float> product(static_cast<std::size_t>(num_placed * s.n));
        for (std::int64_t slot = 0; slot < s.num_slots; ++slot) {
          for (std::int64_t i = begin[slot]; i < begin[slot + 1]; ++i) {
            for (std::int64_t j = 0; j < s.n; ++j) {
              double sum = 0;
              const float* row = x.floats.data() + pair_at[i] / s.top_k * s.k;
              const float* weight = w.floats.data() + (slot * s.n + j) * s.k;
              for (std::int64_t at = 0; at < s.k; ++at) sum += row[at] * weight[at];
              product[i * s.n + j] = static_cast<float>(sum);
            }
          }
        }
        std::vector<float> expected = product;
        if (has_silu) {
          expected.resize(static_cast<std::size_t>(num_placed * y_size));
          cpu::silu_and_mul(product.data(), expected.data(), num_placed, y_size, kSet);
        }
        const Bytes x_there = upload(x), w_there = upload(w),
                    y = room_for(num_pairs * y_size, dtype);
        const OnDevice<std::int32_t> begin_there(begin), pair_at_there(pair_at);

        cuda::grouped_product({.x = x_there.data(),
                               .x_stride = s.k,
                               .pair_at = pair_at_there.data(),
                               .top_k = s.top_k,
                               .weight = w_there.data(),
                               .expert_begin = begin_there.data(),
                               .num_slots = s.num_slots,
                               .num_places = num_pairs,
                               .y = y.data(),
                               .n = s.n,
                               .k = s.k,
                               .dtype = dtype,
                               .has_silu_and_mul = has_silu},
                              stream.get());
        stream.synchronize();

        std::vector<float> actual = to_floats(y.values(), dtype);
        actual.resize(expected.size());
        expect_near(actual, expected, tolerance(dtype),
                    std::string(name_of(dtype)) + " n=" + std::to_string(s.n) +
                        " k=" + std::to_string(s.k) + " tokens=" + std::to_string(s.num_tokens) +
                        (has_silu ? " silu" : ""),
                    2.0f);
      }
    }
  }
}

/// A product of bfloat16 with pairs sorted by slot, of the rows of x that row_of says.
std::vector<std::uint8_t> product_of_pairs(const std::vector<std::int32_t>& slots,
                                           const std::vector<std::int32_t>& row_of, const Bytes& x,
                                           const Bytes& w, const ProductShape& shape,
                                           bool has_silu) {
  const tensor::Stream stream;
  const auto num_pairs = static_cast<std::int64_t>(slots.size());
  std::vector<std::int32_t> begin(static_cast<std::size_t>(shape.num_slots) + 1),
      pair_at(slots.size()), place(slots.size());
  cpu::sort_by_expert(slots.data(), num_pairs, shape.num_slots, begin.data(), pair_at.data(),
                      place.data());
  const OnDevice<std::int32_t> begin_there(begin), pair_at_there(pair_at), row_of_there(row_of);
  const std::int64_t size = has_silu ? shape.n / 2 : shape.n;
  const Bytes y = room_for(num_pairs * size, DType::bfloat16);
  cuda::grouped_product({.x = x.data(),
                         .x_stride = shape.k,
                         .pair_at = pair_at_there.data(),
                         .row_of = row_of_there.data(),
                         .top_k = shape.top_k,
                         .weight = w.data(),
                         .expert_begin = begin_there.data(),
                         .num_slots = shape.num_slots,
                         .num_places = num_pairs,
                         .y = y.data(),
                         .n = shape.n,
                         .k = shape.k,
                         .dtype = DType::bfloat16,
                         .has_silu_and_mul = has_silu},
                        stream.get());
  stream.synchronize();
  // Back from places to pairs.
  const std::vector<std::uint8_t> placed = y.values();
  std::vector<std::uint8_t> result;
  for (const std::int32_t at : place) {
    if (at < 0) continue;
    const auto row = placed.begin() + at * size * 2;
    result.insert(result.end(), row, row + size * 2);
  }
  return result;
}

TEST(CudaGroupedProduct, GivesFewPairsTheSameBitsWhateverIsBesideThem) {
  TRIREME_REQUIRES_GPU();
  // Slot 0 gets about half of the pairs: more than a tile has rows.
  for (const ProductShape& s : {ProductShape{8, 8, 16, 192, 520}, {4, 4, 64, 1536, 2048}}) {
    for (const bool has_silu : {false, true}) {
      const std::int64_t num_pairs = s.num_tokens * s.top_k;
      const std::vector<std::int32_t> slots = random_slots(num_pairs, s.num_slots, true);
      const Bytes x = upload(to_dtype(random_floats(s.num_tokens * s.k, 1), DType::bfloat16)),
                  w = upload(
                      to_dtype(random_floats(s.num_slots * s.n * s.k, 2, 0.05f), DType::bfloat16));
      std::vector<std::int32_t> row_of;
      for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
        row_of.push_back(static_cast<std::int32_t>(pair * 3 % s.num_tokens));
      }

      const std::vector<std::uint8_t> together = product_of_pairs(slots, row_of, x, w, s, has_silu);
      std::vector<std::uint8_t> alone;
      for (std::size_t pair = 0; pair < slots.size(); ++pair) {
        const auto of_pair = product_of_pairs({slots[pair]}, {row_of[pair]}, x, w, s, has_silu);
        alone.insert(alone.end(), of_pair.begin(), of_pair.end());
      }

      EXPECT_EQ(together, alone) << "n=" << s.n << " k=" << s.k << (has_silu ? " silu" : "");
    }
  }
}

TEST(CudaGroupedProduct, LeavesPlacesAloneThatNoSlotHas) {
  TRIREME_REQUIRES_GPU();
  const ProductShape shape{4, 2, 8, 98, 64};
  const Bytes x = upload(to_dtype(random_floats(4 * 64, 1), DType::bfloat16)),
              w = upload(to_dtype(random_floats(8 * 98 * 64, 2), DType::bfloat16)),
              y = room_for(8 * 98, DType::bfloat16);
  const OnDevice<std::int32_t> begin(std::vector<std::int32_t>(9, 0));
  const tensor::Stream stream;

  cuda::grouped_product({.x = x.data(),
                         .x_stride = 64,
                         .weight = w.data(),
                         .expert_begin = begin.data(),
                         .num_slots = 8,
                         .num_places = 8,
                         .y = y.data(),
                         .n = shape.n,
                         .k = shape.k},
                        stream.get());
  stream.synchronize();

  for (const float value : to_floats(y.values(), DType::bfloat16)) {
    EXPECT_TRUE(std::isnan(value));
  }
}

}  // namespace
}  // namespace trireme::kernels
