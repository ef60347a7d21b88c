#include "engine/shard_part.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

namespace trireme::engine {
namespace {

/// Lists are this long at most; what keeps more candidates needs whole rows.
constexpr std::size_t kMaxListed = 1024;
/// Without top_k: what top_p and min_p keep is nearly always among so many.
constexpr std::size_t kListedWithoutTopK = 256;

template <typename T>
constexpr std::size_t kWords = sizeof(T) / sizeof(std::int32_t);
static_assert(sizeof(Candidate) == 12 && std::is_trivially_copyable_v<Candidate>);
constexpr std::size_t kLogSumExpWords = kWords<float> + kWords<double>;

class PartWriter {
 public:
  explicit PartWriter(std::int32_t* words) : at_(words) {}

  template <typename T>
  void put(const T& value) {
    std::memcpy(at_, &value, sizeof(T));
    at_ += kWords<T>;
  }
  void put(const LogSumExp& value) {
    put(value.largest);
    put(value.sum);
  }
  /// `count` candidates, with empty ones where the shard has fewer.
  void put(std::span<const Candidate> candidates, std::size_t count) {
    for (const Candidate& candidate : candidates) put(candidate);
    for (std::size_t i = candidates.size(); i < count; ++i) put(Candidate{});
  }

 private:
  std::int32_t* at_;
};

class PartReader {
 public:
  explicit PartReader(const std::int32_t* words) : at_(words) {}

  template <typename T>
  T take() {
    T value;
    std::memcpy(static_cast<void*>(&value), at_, sizeof(T));
    at_ += kWords<T>;
    return value;
  }
  LogSumExp take_log_sum_exp() {
    LogSumExp value;
    value.largest = take<float>();
    value.sum = take<double>();
    return value;
  }
  void take(std::size_t count, std::vector<Candidate>& candidates) {
    candidates.clear();
    for (std::size_t i = 0; i < count; ++i) candidates.push_back(take<Candidate>());
    while (!candidates.empty() && candidates.back().id < 0) candidates.pop_back();
  }

 private:
  const std::int32_t* at_;
};

/// All ranks' parts, taken apart.
struct OpenParts {
  bool has_finite = false;
  LogSumExp values, model;
  std::vector<std::vector<Candidate>> listed, top;
};

OpenParts open_parts(const PartForm& form, const RowParts& parts) {
  const std::size_t num_ranks = parts.shard_begin.size() - 1;
  OpenParts open;
  open.listed.resize(num_ranks);
  open.top.resize(num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    PartReader reader(parts.first + rank * parts.stride);
    if (reader.take<std::int32_t>() != 0) open.has_finite = true;
    reader.take(form.num_listed, open.listed[rank]);
    if (form.has_mass) open.values.add(reader.take_log_sum_exp());
    if (form.has_logprob) open.model.add(reader.take_log_sum_exp());
    reader.take(form.num_top, open.top[rank]);
  }
  return open;
}

/// Merges the ranks' lists of the `count` best each.
bool merge_lists(const std::vector<std::vector<Candidate>>& lists, std::size_t count,
                 std::size_t limit, std::span<const std::int64_t> shard_begin,
                 std::vector<Candidate>& merged) {
  std::vector<SortedList> sorted(lists.size());
  for (std::size_t rank = 0; rank < lists.size(); ++rank) {
    const auto shard_size = static_cast<std::size_t>(shard_begin[rank + 1] - shard_begin[rank]);
    sorted[rank] = {lists[rank], shard_size <= count};
  }
  return merge_sorted(sorted, limit, merged);
}

/// The token and its logit; id -1 if the lists cannot tell.
Candidate draw_from_lists(const PartForm& form, const SampleRow& row, const OpenParts& open,
                          std::span<const std::int64_t> shard_begin,
                          std::vector<Candidate>& merged) {
  const auto vocab_size = shard_begin.back();
  const std::size_t top_k = effective_top_k(*row.params, vocab_size);
  const std::size_t limit = top_k > 0 ? top_k : static_cast<std::size_t>(vocab_size);
  bool is_all = merge_lists(open.listed, form.num_listed, limit, shard_begin, merged);
  double mass = open.values.sum;
  if (top_k > 0) {
    is_all = true;  // of what top_k keeps
    mass = mass_of(merged);
  }
  const auto kept = num_kept(merged, is_all, mass, *row.params);
  if (!kept) return {};
  return draw(std::span(merged).first(*kept), row.key, row.position);
}

}  // namespace

std::size_t PartForm::num_words() const {
  return 1 + (num_listed + num_top) * kWords<Candidate> +
         (std::size_t{has_mass} + std::size_t{has_logprob}) * kLogSumExpWords;
}

std::size_t effective_top_k(const SamplingParams& params, std::int64_t vocab_size) {
  return params.top_k > 0 && params.top_k < vocab_size ? static_cast<std::size_t>(params.top_k) : 0;
}

PartForm part_form(const SamplingParams& params, std::int64_t vocab_size) {
  PartForm form;
  const std::size_t top_k = effective_top_k(params, vocab_size);
  form.is_unfiltered =
      params.temperature == 0 || (top_k == 0 && params.top_p >= 1 && params.min_p <= 0);
  if (!form.is_unfiltered) {
    form.num_listed = top_k > kMaxListed ? 0 : top_k > 0 ? top_k : kListedWithoutTopK;
    form.has_mass = top_k == 0 && params.top_p < 1;
  }
  form.has_logprob = params.logprobs >= 0;
  form.num_top = static_cast<std::size_t>(std::clamp<std::int64_t>(params.logprobs, 0, vocab_size));
  return form;
}

void write_part(const PartForm& form, const SampleRow& row, std::span<const float> logits,
                std::int32_t first_id, RowScratch& scratch, std::int32_t* words) {
  PartWriter writer(words);
  const std::span<const float> values = prepared_logits(logits, first_id, row, scratch);
  writer.put(std::int32_t{has_finite(values)});
  const auto with_logit = [&](Candidate& candidate) {
    if (candidate.id >= 0)
      candidate.logit = logits[static_cast<std::size_t>(candidate.id - first_id)];
  };
  if (form.is_unfiltered) {
    Candidate best = row.params->temperature == 0
                         ? largest_of(values, first_id)
                         : largest_with_noise(values, first_id, row.key, row.position);
    with_logit(best);
    writer.put(best);
  } else {
    const auto best = select_best(values, first_id, form.num_listed, scratch.selection);
    std::for_each(best.begin(), best.end(), with_logit);
    writer.put(best, form.num_listed);
  }
  if (form.has_mass) writer.put(log_sum_exp(values));
  if (form.has_logprob) writer.put(log_sum_exp(logits));
  const auto top = select_best(logits, first_id, form.num_top, scratch.selection);
  writer.put(top, form.num_top);
}

RowOutcome merge_parts(const PartForm& form, const SampleRow& row, const RowParts& parts,
                       RowScratch& scratch) {
  const OpenParts open = open_parts(form, parts);
  RowOutcome outcome;
  outcome.model = open.model;
  if (!open.has_finite) return outcome;
  Candidate chosen;
  if (form.is_unfiltered) {
    for (const auto& listed : open.listed) {
      // Ids ascend with the rank, so a tie stays with the lowest.
      if (!listed.empty() && (chosen.id < 0 || listed[0].value > chosen.value)) chosen = listed[0];
    }
  } else if (form.num_listed > 0) {
    chosen = draw_from_lists(form, row, open, parts.shard_begin, scratch.merged);
  }
  outcome.needs_whole_row = chosen.id < 0;
  outcome.sampled.token = chosen.id;
  if (form.has_logprob && chosen.id >= 0)
    outcome.sampled.logprob = open.model.logprob(chosen.logit);
  if (form.num_top > 0) {
    merge_lists(open.top, form.num_top, form.num_top, parts.shard_begin, scratch.merged);
    for (const Candidate& candidate : scratch.merged) {
      outcome.sampled.top_ids.push_back(candidate.id);
      outcome.sampled.top_logprobs.push_back(open.model.logprob(candidate.value));
    }
  }
  return outcome;
}

std::int32_t draw_from_whole_row(const SampleRow& row, std::span<const float> values,
                                 RowScratch& scratch) {
  const auto vocab_size = static_cast<std::int64_t>(values.size());
  if (const std::size_t top_k = effective_top_k(*row.params, vocab_size); top_k > 0) {
    const auto best = select_best(values, 0, top_k, scratch.selection);
    const auto kept = num_kept(best, true, mass_of(best), *row.params);
    return draw(best.first(kept.value()), row.key, row.position).id;
  }
  const double mass = row.params->top_p < 1 ? log_sum_exp(values).sum : 0;
  for (std::size_t count = 4 * kMaxListed;; count *= 8) {
    const auto best = select_best(values, 0, count, scratch.selection);
    const auto kept = num_kept(best, best.size() == values.size(), mass, *row.params);
    if (kept) return draw(best.first(*kept), row.key, row.position).id;
  }
}

}  // namespace trireme::engine
