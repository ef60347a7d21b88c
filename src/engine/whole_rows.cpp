#include <omp.h>

#include <algorithm>

#include "engine/sampler.h"

// The rows of Sampler::sample that no list of candidates decides.
namespace trireme::engine {
namespace {

using tensor::TensorView;

/// Logits that are under way together, over all ranks.
constexpr std::int64_t kMaxSliceBytes = std::int64_t{16} << 20;

template <typename T>
TensorView view_of(std::vector<T>& values) {
  return {values.data(), dtype_of<T>, {static_cast<std::int64_t>(values.size())}};
}

}  // namespace

void Sampler::sample_whole_rows(const TensorView& logits, std::span<WholeRow> rows) {
  const std::int64_t row_bytes = vocab_size_ * static_cast<std::int64_t>(sizeof(float));
  const auto slice =
      static_cast<std::size_t>(std::max<std::int64_t>(1, kMaxSliceBytes / row_bytes));
  for (std::size_t begin = 0; begin < rows.size(); begin += slice) {
    const auto part = rows.subspan(begin, std::min(slice, rows.size() - begin));
    const std::vector<std::int32_t> tokens =
        group_.size() == 1 ? draw_whole_rows(logits, part) : draw_exchanged(logits, part);
    const bool wants_logprobs = std::any_of(part.begin(), part.end(), [](const WholeRow& row) {
      return row.row->params->logprobs >= 0;
    });
    std::vector<float> chosen;
    if (wants_logprobs) chosen = logits_of_tokens(logits, part, tokens);
    for (std::size_t i = 0; i < part.size(); ++i) {
      part[i].outcome.sampled.token = tokens[i];
      if (part[i].row->params->logprobs >= 0) {
        part[i].outcome.sampled.logprob = part[i].outcome.model.logprob(chosen[i]);
      }
      *part[i].sampled = std::move(part[i].outcome.sampled);
    }
  }
}

std::vector<std::int32_t> Sampler::draw_whole_rows(const TensorView& logits,
                                                   std::span<const WholeRow> rows) {
  std::vector<std::int32_t> tokens(rows.size());
  const auto end = static_cast<std::int64_t>(rows.size());
#pragma omp parallel for schedule(dynamic) if (end > 1)
  for (std::int64_t i = 0; i < end; ++i) {
    const SampleRow& row = *rows[static_cast<std::size_t>(i)].row;
    RowScratch& scratch = scratch_[static_cast<std::size_t>(omp_get_thread_num())];
    const auto values =
        prepared_logits(logits_of(logits, row.logits_row), shard_.begin, row, scratch);
    tokens[static_cast<std::size_t>(i)] = draw_from_whole_row(row, values, scratch);
  }
  return tokens;
}

std::vector<std::int32_t> Sampler::draw_exchanged(const TensorView& logits,
                                                  std::span<const WholeRow> rows) {
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  const std::int64_t num_ranks = group_.size();
  const auto first_row_of = [&](std::int64_t rank) { return num_rows * rank / num_ranks; };
  const std::int64_t own_begin = first_row_of(group_.rank());
  const std::int64_t num_own = first_row_of(group_.rank() + 1) - own_begin;

  std::vector<float> sent(static_cast<std::size_t>(num_rows * shard_.num_valid));
#pragma omp parallel for schedule(dynamic) if (num_rows > 1)
  for (std::int64_t i = 0; i < num_rows; ++i) {
    const SampleRow& row = *rows[static_cast<std::size_t>(i)].row;
    const auto values = prepared_logits(logits_of(logits, row.logits_row), shard_.begin, row,
                                        scratch_[static_cast<std::size_t>(omp_get_thread_num())]);
    std::copy(values.begin(), values.end(), sent.begin() + i * shard_.num_valid);
  }
  std::vector<std::int64_t> send_counts, receive_counts, row_counts;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    const auto index = static_cast<std::size_t>(rank);
    row_counts.push_back(first_row_of(rank + 1) - first_row_of(rank));
    send_counts.push_back(row_counts.back() * shard_.num_valid);
    receive_counts.push_back(num_own * (shard_begin_[index + 1] - shard_begin_[index]));
  }
  std::vector<float> received(static_cast<std::size_t>(num_own * vocab_size_));
  group_.all_to_all(view_of(sent), send_counts, view_of(received), receive_counts);

  std::vector<std::int32_t> own_tokens(static_cast<std::size_t>(num_own));
#pragma omp parallel for schedule(dynamic) if (num_own > 1)
  for (std::int64_t i = 0; i < num_own; ++i) {
    RowScratch& scratch = scratch_[static_cast<std::size_t>(omp_get_thread_num())];
    scratch.values.resize(static_cast<std::size_t>(vocab_size_));
    for (std::size_t rank = 0; rank + 1 < shard_begin_.size(); ++rank) {
      const std::int64_t count = shard_begin_[rank + 1] - shard_begin_[rank];
      const auto from = received.begin() + num_own * shard_begin_[rank] + i * count;
      std::copy(from, from + count, scratch.values.begin() + shard_begin_[rank]);
    }
    own_tokens[static_cast<std::size_t>(i)] = draw_from_whole_row(
        *rows[static_cast<std::size_t>(own_begin + i)].row, scratch.values, scratch);
  }
  std::vector<std::int32_t> tokens(rows.size());
  group_.all_gather(view_of(own_tokens), view_of(tokens), row_counts);
  return tokens;
}

std::vector<float> Sampler::logits_of_tokens(const TensorView& logits,
                                             std::span<const WholeRow> rows,
                                             std::span<const std::int32_t> tokens) {
  std::vector<float> own(rows.size(), 0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t column = tokens[i] - std::int64_t{shard_.begin};
    if (column < 0 || column >= shard_.num_valid) continue;
    own[i] = logits_of(logits, rows[i].row->logits_row)[static_cast<std::size_t>(column)];
  }
  if (group_.size() == 1) return own;
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(group_.size()),
                                         static_cast<std::int64_t>(rows.size()));
  std::vector<float> all(rows.size() * counts.size());
  group_.all_gather(view_of(own), view_of(all), counts);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto after = std::upper_bound(shard_begin_.begin(), shard_begin_.end(), tokens[i]);
    const auto rank = static_cast<std::size_t>(after - shard_begin_.begin() - 1);
    own[i] = all[rank * rows.size() + i];
  }
  return own;
}

}  // namespace trireme::engine
