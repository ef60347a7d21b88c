#include "engine/expert_counter.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::engine {

void double_windows(std::vector<std::vector<std::int64_t>>& windows) {
  std::vector<std::vector<std::int64_t>> doubled;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if (i % 2 == 0) {
      doubled.push_back(std::move(windows[i]));
      continue;
    }
    std::vector<std::int64_t>& sum = doubled.back();
    for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += windows[i][j];
  }
  windows = std::move(doubled);
}

ExpertCounter::ExpertCounter(const layers::MoeSpec& spec, const Options& options, int num_lanes)
    : options_(options), steps_(static_cast<std::size_t>(num_lanes)) {
  options_.is_on = options_.is_on && !spec.layers.empty();
  if (options_.clock != nullptr) begin_s_ = options_.clock();
  counts_.layers = spec.layers;
  counts_.num_experts = spec.num_experts;
  counts_.top_k = spec.top_k;
  counts_.ep_size = options_.ep_size;
  counts_.window_s = options_.first_window_s;
}

std::span<layers::ExpertChoice> ExpertCounter::open(int lane, const StepPlan& plan,
                                                    const SlotTable& slots) {
  if (!options_.is_on || plan.rows.empty()) return {};
  Step& step = steps_[static_cast<std::size_t>(lane)];
  TRIREME_CHECK(step.rows.empty(), "lane=", lane);
  std::int64_t first_token = 0;
  for (const PlanRow& row : plan.rows) {
    const std::int64_t skipped = std::min(row.num_recomputed, row.num_tokens);
    step.rows.push_back({first_token + skipped, row.num_tokens - skipped, slots[row.slot].domain});
    first_token += row.num_tokens;
  }
  step.num_tokens = first_token;
  step.choices.resize(counts_.layers.size() * static_cast<std::size_t>(first_token) *
                      static_cast<std::size_t>(counts_.top_k));
  return step.choices;
}

void ExpertCounter::settle(int lane, std::span<const std::int32_t> void_rows) {
  Step& step = steps_[static_cast<std::size_t>(lane)];
  for (const std::int32_t row : void_rows) {
    if (step.rows.empty()) break;
    TRIREME_CHECK(row >= 0 && row < std::ssize(step.rows), "row=", row);
    step.rows[static_cast<std::size_t>(row)].num_tokens = 0;
  }
  for (const Row& row : step.rows) {
    if (row.num_tokens == 0) continue;
    count(step, row);
    if (options_.keeps_choices) keep_choices(step, row);
    counts_.tokens += row.num_tokens;
  }
  step.rows.clear();
}

void ExpertCounter::count(const Step& step, const Row& row) {
  std::vector<std::int64_t>& window = window_now();
  ExpertCounts& of_domain = domain(row.domain);
  const std::int64_t top_k = counts_.top_k;
  for (std::int64_t layer = 0; layer < std::ssize(counts_.layers); ++layer) {
    const auto* const choices =
        step.choices.data() + (layer * step.num_tokens + row.first_token) * top_k;
    for (std::int64_t i = 0; i < row.num_tokens * top_k; ++i) {
      const auto expert = static_cast<std::size_t>(layer * counts_.num_experts + choices[i].expert);
      ++window[expert];
      ++of_domain.by_expert[expert];
      ++of_domain.by_rank[static_cast<std::size_t>(layer * counts_.ep_size + choices[i].ep_rank)];
    }
  }
}

void ExpertCounter::keep_choices(const Step& step, const Row& row) {
  const std::int64_t top_k = counts_.top_k;
  const std::int64_t num_kept = std::min(row.num_tokens, kMaxChoices - counts_.tokens);
  for (std::int64_t token = row.first_token; token < row.first_token + num_kept; ++token) {
    for (std::int64_t layer = 0; layer < std::ssize(counts_.layers); ++layer) {
      const auto* const choices = step.choices.data() + (layer * step.num_tokens + token) * top_k;
      for (std::int64_t k = 0; k < top_k; ++k) {
        counts_.choices.push_back(static_cast<std::int16_t>(choices[k].expert));
      }
    }
  }
}

std::vector<std::int64_t>& ExpertCounter::window_now() {
  const double elapsed = options_.clock == nullptr ? 0 : options_.clock() - begin_s_;
  while (elapsed >= counts_.window_s * static_cast<double>(kMaxWindows)) {
    double_windows(counts_.windows);
    counts_.window_s *= 2;
  }
  const auto index = static_cast<std::size_t>(elapsed / counts_.window_s);
  const std::size_t size = counts_.layers.size() * static_cast<std::size_t>(counts_.num_experts);
  if (counts_.windows.size() <= index) {
    counts_.windows.resize(index + 1, std::vector<std::int64_t>(size));
  }
  return counts_.windows[index];
}

ExpertCounts& ExpertCounter::domain(std::uint64_t key) {
  auto& domains = counts_.domains;
  if (domains.size() >= kMaxDomains && !domains.contains(key)) key = kOtherDomains;
  ExpertCounts& counts = domains[key];
  if (counts.by_expert.empty()) {
    const std::size_t num_layers = counts_.layers.size();
    counts.by_expert.resize(num_layers * static_cast<std::size_t>(counts_.num_experts));
    counts.by_rank.resize(num_layers * static_cast<std::size_t>(counts_.ep_size));
  }
  return counts;
}

}  // namespace trireme::engine
