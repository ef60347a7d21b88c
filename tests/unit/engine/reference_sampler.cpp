#include "tests/unit/engine/reference_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "engine/noise.h"

namespace trireme::test {
namespace {

using engine::SampleRow;
using engine::SamplingParams;

std::vector<float> edited(std::span<const float> logits, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  std::vector<float> values(logits.begin(), logits.end());
  std::map<std::int32_t, int> num_generated;
  for (const std::int32_t id : row.generated) ++num_generated[id];
  std::set<std::int32_t> seen(row.prompt.begin(), row.prompt.end());
  seen.insert(row.generated.begin(), row.generated.end());
  for (const std::int32_t id : seen) {
    float& value = values[static_cast<std::size_t>(id)];
    const auto penalty = static_cast<float>(params.repetition_penalty);
    value = value > 0 ? value / penalty : value * penalty;
  }
  for (const auto& [id, count] : num_generated) {
    values[static_cast<std::size_t>(id)] -=
        static_cast<float>(params.presence_penalty) +
        static_cast<float>(params.frequency_penalty) * static_cast<float>(count);
  }
  for (const auto& [id, bias] : params.logit_bias) values[static_cast<std::size_t>(id)] += bias;
  for (const std::int32_t id : row.banned) {
    values[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
  }
  return values;
}

/// Ids by value descending, id ascending, NaN last.
std::vector<std::int32_t> sorted_ids(std::span<const float> values) {
  std::vector<std::int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = values[static_cast<std::size_t>(a)], y = values[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return x > y;
  });
  return ids;
}

/// exp(value − largest): 1 for the largest, 0 for NaN.
double weight(float value, float largest) {
  if (value == largest) return 1;
  return std::isnan(value) ? 0 : std::exp(double{value} - double{largest});
}

void filter(const SamplingParams& params, std::span<const float> scaled,
            std::vector<std::int32_t>& ids) {
  const auto value_of = [&](std::int32_t id) { return scaled[static_cast<std::size_t>(id)]; };
  if (params.top_k > 0 && ids.size() > static_cast<std::size_t>(params.top_k)) {
    ids.resize(static_cast<std::size_t>(params.top_k));
  }
  const float largest = value_of(ids[0]);
  double total = 0;
  for (const std::int32_t id : ids) total += weight(value_of(id), largest);
  if (params.top_p < 1) {
    double reached = 0;
    std::size_t count = 0;
    while (count < ids.size() && (count == 0 || reached / total < params.top_p)) {
      reached += weight(value_of(ids[count++]), largest);
    }
    ids.resize(count);
  }
  std::erase_if(ids, [&](std::int32_t id) { return weight(value_of(id), largest) < params.min_p; });
}

std::int32_t drawn(const SampleRow& row, std::span<const float> values) {
  const SamplingParams& params = *row.params;
  std::vector<std::int32_t> ids = sorted_ids(values);
  if (params.temperature == 0) return ids[0];
  std::vector<float> scaled(values.begin(), values.end());
  for (float& value : scaled) value /= static_cast<float>(params.temperature);
  ids = sorted_ids(scaled);
  filter(params, scaled, ids);
  std::sort(ids.begin(), ids.end());
  std::int32_t best = -1;
  float best_value = 0;
  for (const std::int32_t id : ids) {
    const auto quad = static_cast<std::uint32_t>(id) / 4;
    const auto words = engine::noise_words(row.key, static_cast<std::uint64_t>(row.position), quad);
    const float value = scaled[static_cast<std::size_t>(id)] +
                        engine::gumbel(words[static_cast<std::size_t>(id) % 4]);
    if (!std::isnan(value) && (best < 0 || value > best_value)) {
      best = id;
      best_value = value;
    }
  }
  return best;
}

}  // namespace

double reference_logprob(std::span<const float> logits, std::int32_t id) {
  const float largest = logits[static_cast<std::size_t>(sorted_ids(logits)[0])];
  double total = 0;
  for (const float logit : logits) total += weight(logit, largest);
  const float logit = logits[static_cast<std::size_t>(id)];
  if (std::isnan(logit)) return -std::numeric_limits<double>::infinity();
  return (logit == largest ? 0 : double{logit} - double{largest}) - std::log(total);
}

engine::SampledToken reference_sample(std::span<const float> logits, const SampleRow& row) {
  engine::SampledToken sampled;
  const std::vector<float> values = edited(logits, row);
  if (std::none_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
    return sampled;
  }
  sampled.token = drawn(row, values);
  const std::int32_t logprobs = row.params->logprobs;
  if (logprobs < 0) return sampled;
  sampled.logprob = static_cast<float>(reference_logprob(logits, sampled.token));
  const std::vector<std::int32_t> ids = sorted_ids(logits);
  for (std::size_t i = 0; i < std::min(ids.size(), static_cast<std::size_t>(logprobs)); ++i) {
    sampled.top_ids.push_back(ids[i]);
    sampled.top_logprobs.push_back(static_cast<float>(reference_logprob(logits, ids[i])));
  }
  return sampled;
}

}  // namespace trireme::test
