#include "kernels/moe.h"

#include <algorithm>
#include <numeric>

#include "device_data.h"
#include "moe_data.h"

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

}  // namespace
}  // namespace trireme::kernels
