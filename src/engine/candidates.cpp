#include "engine/candidates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/logit_scan.h"
#include "engine/noise.h"

namespace trireme::engine {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// exp(value − largest), also where both are infinite; 0 for NaN.
double weight(float value, float largest) {
  if (value == largest) return 1;
  if (!(value > kLowest)) return 0;
  return std::exp(static_cast<double>(value) - static_cast<double>(largest));
}

/// A value that at least `count` of the row are not below, and few more: the count-th largest of
/// the maxima of blocks. −inf if there are too few blocks to tell.
float lower_bound_of_best(std::span<const float> values, std::size_t block, std::size_t count,
                          SelectionScratch& scratch) {
  scratch.block_maxima.resize((values.size() + block - 1) / block);
  block_maxima(values, block, scratch.block_maxima.data());
  if (scratch.block_maxima.size() <= count) return kLowest;
  scratch.sorted_maxima = scratch.block_maxima;
  const auto nth = scratch.sorted_maxima.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(scratch.sorted_maxima.begin(), nth, scratch.sorted_maxima.end(),
                   std::greater<float>());
  return *nth;
}

}  // namespace

bool ranks_before(const Candidate& a, const Candidate& b) {
  if (a.value > b.value) return true;
  if (a.value < b.value) return false;
  const bool a_is_nan = std::isnan(a.value), b_is_nan = std::isnan(b.value);
  if (a_is_nan != b_is_nan) return b_is_nan;
  return a.id < b.id;
}

std::span<Candidate> select_best(std::span<const float> values, std::int32_t first_id,
                                 std::size_t count, SelectionScratch& scratch) {
  count = std::min(count, values.size());
  scratch.pool.clear();
  if (count == 0) return {};
  // Large blocks make the maxima cheap, small ones the search in the blocks that reach the bound.
  const std::size_t block = values.size() / 64 >= 4 * count ? 64 : 16;
  const float bound = lower_bound_of_best(values, block, count, scratch);
  for (std::size_t i = 0; i < scratch.block_maxima.size(); ++i) {
    if (scratch.block_maxima[i] < bound) continue;
    const std::size_t end = std::min(values.size(), (i + 1) * block);
    for (std::size_t column = i * block; column < end; ++column) {
      // A bound of −inf says nothing, and NaN has its place behind −inf.
      if (values[column] >= bound || bound == kLowest) {
        scratch.pool.push_back({values[column], first_id + static_cast<std::int32_t>(column), 0});
      }
    }
  }
  const auto end = scratch.pool.begin() + static_cast<std::ptrdiff_t>(count);
  if (end != scratch.pool.end()) {
    std::nth_element(scratch.pool.begin(), end - 1, scratch.pool.end(), ranks_before);
  }
  std::sort(scratch.pool.begin(), end, ranks_before);
  return {scratch.pool.data(), count};
}

bool merge_sorted(std::span<const SortedList> lists, std::size_t limit,
                  std::vector<Candidate>& merged) {
  merged.clear();
  std::vector<std::size_t> next(lists.size(), 0);
  while (merged.size() < limit) {
    std::size_t best = lists.size();
    for (std::size_t i = 0; i < lists.size(); ++i) {
      const auto& candidates = lists[i].candidates;
      if (next[i] == candidates.size()) {
        if (lists[i].is_all) continue;
        return false;  // the next of this shard is not known
      }
      if (best == lists.size() ||
          ranks_before(candidates[next[i]], lists[best].candidates[next[best]])) {
        best = i;
      }
    }
    if (best == lists.size()) return true;
    merged.push_back(lists[best].candidates[next[best]++]);
  }
  for (std::size_t i = 0; i < lists.size(); ++i) {
    if (!lists[i].is_all || next[i] < lists[i].candidates.size()) return false;
  }
  return true;
}

double mass_of(std::span<const Candidate> sorted) {
  double mass = 0;
  for (const Candidate& candidate : sorted) mass += weight(candidate.value, sorted[0].value);
  return mass;
}

std::optional<std::size_t> num_kept(std::span<const Candidate> sorted, bool is_all, double mass,
                                    const SamplingParams& params) {
  if (sorted.empty()) return is_all ? std::optional<std::size_t>(0) : std::nullopt;
  const float largest = sorted[0].value;
  const double lowest_kept = static_cast<double>(largest) + std::log(params.min_p);
  const double wanted_mass = params.top_p * mass;
  double reached = weight(largest, largest);
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    // With top_p = 1 rounding must not end the list early.
    if (params.top_p < 1 && reached >= wanted_mass) return i;
    if (params.min_p > 0 && !(static_cast<double>(sorted[i].value) >= lowest_kept)) return i;
    reached += weight(sorted[i].value, largest);
  }
  if (is_all || (params.top_p < 1 && reached >= wanted_mass)) return sorted.size();
  return std::nullopt;
}

Candidate draw(std::span<const Candidate> sorted, std::uint64_t key, std::int64_t position) {
  Candidate best;
  float best_value = 0;
  for (const Candidate& candidate : sorted) {
    if (best.id >= 0 && candidate.value + kNoiseBound < best_value) break;
    const float value =
        candidate.value + noise_of(key, static_cast<std::uint64_t>(position), candidate.id);
    if (best.id < 0 || value > best_value || (value == best_value && candidate.id < best.id)) {
      best = candidate;
      best_value = value;
    }
  }
  return best;
}

}  // namespace trireme::engine
