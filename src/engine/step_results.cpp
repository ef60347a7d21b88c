#include "engine/step_results.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace trireme::engine {

ResultLayout::ResultLayout(const StepPlan& plan, const SlotTable& slots, bool with_details) {
  for (const PlanRow& row : plan.rows) {
    Row entry{.slot = row.slot, .samples = row.samples()};
    if (with_details) {
      if (row.samples()) entry.logprobs = slots[row.slot].params.logprobs;
      entry.num_scores = row.num_scores();
    }
    rows.push_back(entry);
  }
}

std::int64_t ResultLayout::num_words() const {
  std::int64_t words = 0;
  for (const Row& row : rows) {
    words +=
        (row.samples ? 1 : 0) + (row.logprobs >= 0 ? 1 + 2 * row.logprobs : 0) + row.num_scores;
  }
  return words;
}

std::vector<std::int32_t> encode(const ResultLayout& layout, std::span<const SampledToken> tokens,
                                 std::span<const float> scores) {
  std::vector<std::int32_t> words;
  std::size_t next_token = 0;
  std::size_t next_score = 0;
  const auto put = [&words](float value) { words.push_back(std::bit_cast<std::int32_t>(value)); };
  for (const ResultLayout::Row& row : layout.rows) {
    for (std::int32_t i = 0; i < row.num_scores; ++i) put(scores[next_score++]);
    if (!row.samples) continue;
    const SampledToken& token = tokens[next_token++];
    words.push_back(token.token);
    if (row.logprobs < 0) continue;
    put(token.logprob);
    // A row without finite logits, or a small vocabulary, may give fewer than were asked for.
    for (std::size_t i = 0; i < static_cast<std::size_t>(row.logprobs); ++i) {
      words.push_back(i < token.top_ids.size() ? token.top_ids[i] : -1);
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(row.logprobs); ++i) {
      put(i < token.top_logprobs.size() ? token.top_logprobs[i] : -INFINITY);
    }
  }
  TRIREME_CHECK(std::ssize(words) == layout.num_words(), "words=", words.size());
  return words;
}

std::vector<RowResult> decode(const ResultLayout& layout, std::span<const std::int32_t> words) {
  TRIREME_CHECK(std::ssize(words) == layout.num_words(), "words=", words.size());
  std::size_t at = 0;
  const auto get = [&] { return std::bit_cast<float>(words[at++]); };
  std::vector<RowResult> results;
  for (const ResultLayout::Row& row : layout.rows) {
    RowResult& result = results.emplace_back();
    for (std::int32_t i = 0; i < row.num_scores; ++i) result.scores.push_back(get());
    if (!row.samples) continue;
    result.token = words[at++];
    if (row.logprobs < 0) continue;
    result.logprob = get();
    for (std::int32_t i = 0; i < row.logprobs; ++i) result.top_ids.push_back(words[at++]);
    for (std::int32_t i = 0; i < row.logprobs; ++i) result.top_logprobs.push_back(get());
  }
  return results;
}

}  // namespace trireme::engine
