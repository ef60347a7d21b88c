#include "engine/row_logits.h"

#include <limits>

namespace trireme::engine {
namespace {

/// The column of an id in this shard; none for other shards' ids and for what is no id.
struct Columns {
  std::int64_t first_id = 0, count = 0;

  bool contains(std::int32_t id) const { return id >= first_id && id < first_id + count; }
  std::size_t of(std::int32_t id) const { return static_cast<std::size_t>(id - first_id); }
};

constexpr std::uint32_t kInPrompt = 1U << 31;  // beside the count of generated ones

void apply_penalties(const SampleRow& row, const Columns& columns, RowScratch& scratch) {
  auto& occurrences = scratch.occurrences;
  occurrences.resize(scratch.values.size(), 0);
  for (const std::int32_t id : row.prompt) {
    if (columns.contains(id)) occurrences[columns.of(id)] |= kInPrompt;
  }
  for (const std::int32_t id : row.generated) {
    if (columns.contains(id)) ++occurrences[columns.of(id)];
  }
  const auto repetition = static_cast<float>(row.params->repetition_penalty);
  const auto presence = static_cast<float>(row.params->presence_penalty);
  const auto frequency = static_cast<float>(row.params->frequency_penalty);
  const auto apply = [&](std::int32_t id) {
    if (!columns.contains(id)) return;
    std::uint32_t& entry = occurrences[columns.of(id)];
    if (entry == 0) return;  // was there before
    const auto num_generated = static_cast<float>(entry & ~kInPrompt);
    entry = 0;
    float& value = scratch.values[columns.of(id)];
    value = value > 0 ? value / repetition : value * repetition;
    if (num_generated > 0) value -= presence + frequency * num_generated;
  };
  for (const std::int32_t id : row.prompt) apply(id);
  for (const std::int32_t id : row.generated) apply(id);
}

}  // namespace

std::span<const float> prepared_logits(std::span<const float> logits, std::int32_t first_id,
                                       const SampleRow& row, RowScratch& scratch) {
  const SamplingParams& params = *row.params;
  const auto temperature = static_cast<float>(params.temperature);
  const bool is_scaled = params.temperature != 0 && temperature != 1;
  if (!row.is_edited() && !is_scaled) return logits;

  auto& values = scratch.values;
  values.assign(logits.begin(), logits.end());
  const Columns columns{first_id, static_cast<std::int64_t>(logits.size())};
  if (params.has_penalty()) apply_penalties(row, columns, scratch);
  for (const auto& [id, bias] : params.logit_bias) {
    if (columns.contains(id)) values[columns.of(id)] += bias;
  }
  for (const std::int32_t id : row.banned) {
    if (columns.contains(id)) values[columns.of(id)] = -std::numeric_limits<float>::infinity();
  }
  if (is_scaled) {
    for (float& value : values) value /= temperature;
  }
  return values;
}

}  // namespace trireme::engine
