#include "kernels/step_batch.h"

#include "device_data.h"

namespace trireme::kernels::cuda {
namespace {

using Numbers = std::vector<std::int32_t>;

TEST(GpuStepBatch, EntersTheTokensOfAStepInTheHistoryOfTheirSlots) {
  TRIREME_REQUIRES_GPU();
  // A chunk, a decode, a row that fills up the step and three tokens that do.
  const OnDevice<StepRow> rows({{.slot = 2, .first_position = 1, .num_tokens = 3, .first_id = 0},
                                {.slot = 0, .first_position = 4, .first_token = 3, .num_tokens = 1},
                                {.first_token = 4}});
  constexpr std::int64_t kSlots = 3, kStride = 6, kSeqs = 3, kTokens = 7;
  const OnDevice<std::int32_t> ids(Numbers{11, 12, 13}), last(Numbers{50, 51, 52}),
      history(Numbers(kSlots * kStride, -5)), token_ids(kTokens), positions(kTokens),
      q_begin(kSeqs + 1), first_position(kSeqs), table_row(kSeqs), blocks(Numbers(kSlots * 3, 0));
  const OnDevice<std::int64_t> slot_mapping(kTokens);
  const tensor::Stream stream;

  StepArrays arrays{.rows = rows.data(),
                    .ids = ids.data(),
                    .last_token = last.data(),
                    .num_seqs = kSeqs,
                    .num_tokens = kTokens,
                    .tokens_per_block = 2,
                    .history = history.data(),
                    .history_stride = kStride,
                    .token_ids = token_ids.data(),
                    .positions = positions.data(),
                    .q_begin = q_begin.data(),
                    .first_position = first_position.data(),
                    .table_row = table_row.data(),
                    .groups = {},
                    .num_groups = 1};
  arrays.groups[0] = {
      .block_table = blocks.data(), .max_blocks = 3, .slot_mapping = slot_mapping.data()};
  expand_step(arrays, stream.get());
  stream.synchronize();

  EXPECT_EQ(token_ids.values(), (Numbers{11, 12, 13, 50, 0, 0, 0}));
  EXPECT_EQ(history.values(), (Numbers{-5, -5, -5, -5, 50, -5,  //
                                       -5, -5, -5, -5, -5, -5,  //
                                       -5, 11, 12, 13, -5, -5}));
}

}  // namespace
}  // namespace trireme::kernels::cuda
