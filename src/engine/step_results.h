#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/slot_table.h"

namespace trireme::engine {

/// What the results of one step look like on their way from the last stage to the first, as 32-bit
/// words: it follows from the plan and from the slots as that plan found them, on both sides alike.
struct ResultLayout {
  struct Row {
    std::int32_t slot = 0;
    bool samples = false;
    std::int32_t logprobs = -1;  ///< as in SamplingParams; -1 where the column carries tokens only
    std::int32_t num_scores = 0;
  };
  std::vector<Row> rows;

  /// `with_details`: the leader's column, which carries log-probabilities and prompt scores as
  /// well.
  ResultLayout() = default;
  ResultLayout(const StepPlan& plan, const SlotTable& slots, bool with_details);
  std::int64_t num_words() const;
};

std::vector<std::int32_t> encode(const ResultLayout& layout, std::span<const SampledToken> tokens,
                                 std::span<const float> scores);
std::vector<RowResult> decode(const ResultLayout& layout, std::span<const std::int32_t> words);

}  // namespace trireme::engine
