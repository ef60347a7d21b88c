#include "engine/sampler.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace trireme::engine {
namespace {

using tensor::TensorView;

/// What the parts of one collective may take, over all ranks.
constexpr std::size_t kMaxGatheredWords = (std::size_t{16} << 20) / sizeof(std::int32_t);

template <typename T>
TensorView view_of(std::span<T> values) {
  return {values.data(), dtype_of<T>, {static_cast<std::int64_t>(values.size())}};
}

/// Calls function(i, thread) for every i in [0, count), by all threads.
template <typename Function>
void for_each_row(std::size_t count, const Function& function) {
  const auto end = static_cast<std::int64_t>(count);
#pragma omp parallel for schedule(dynamic) if (end > 1)
  for (std::int64_t i = 0; i < end; ++i) {
    function(static_cast<std::size_t>(i), static_cast<std::size_t>(omp_get_thread_num()));
  }
}

void check_row(std::int64_t logits_row, const TensorView& logits) {
  TRIREME_CHECK(logits_row >= 0 && logits_row < logits.rows(), "logits_row=", logits_row,
                " logits=", logits.shape.text());
}

}  // namespace

Sampler::Sampler(const models::CausalLm::VocabShard& shard, std::int64_t vocab_size,
                 comm::Communicator& group)
    : shard_(shard), vocab_size_(vocab_size), group_(group) {}

std::vector<SampledToken> Sampler::sample(const TensorView& logits,
                                          std::span<const SampleRow> rows) {
  check_logits(logits);
  std::vector<PartForm> forms(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    TRIREME_CHECK(rows[i].params != nullptr, "row=", i);
    check_row(rows[i].logits_row, logits);
    forms[i] = part_form(*rows[i].params, vocab_size_);
  }
  learn_shards();
  std::vector<SampledToken> sampled(rows.size());
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    std::size_t num_words = 0;
    do {
      num_words += forms[end++].num_words() * static_cast<std::size_t>(group_.size());
    } while (end < rows.size() && num_words < kMaxGatheredWords);
    sample_together(logits, rows.subspan(begin, end - begin),
                    std::span(forms).subspan(begin, end - begin),
                    std::span(sampled).subspan(begin, end - begin));
  }
  return sampled;
}

void Sampler::sample_together(const TensorView& logits, std::span<const SampleRow> rows,
                              std::span<const PartForm> forms, std::span<SampledToken> sampled) {
  std::vector<std::size_t> begin(rows.size() + 1, 0);
  for (std::size_t i = 0; i < rows.size(); ++i) begin[i + 1] = begin[i] + forms[i].num_words();
  words_.resize(begin.back());
  for_each_row(rows.size(), [&](std::size_t i, std::size_t thread) {
    write_part(forms[i], rows[i], logits_of(logits, rows[i].logits_row), shard_.begin,
               scratch_[thread], words_.data() + begin[i]);
  });
  const std::span<const std::int32_t> gathered = gather(words_);

  std::vector<RowOutcome> outcomes(rows.size());
  for_each_row(rows.size(), [&](std::size_t i, std::size_t thread) {
    outcomes[i] =
        merge_parts(forms[i], rows[i], {gathered.data() + begin[i], words_.size(), shard_begin_},
                    scratch_[thread]);
  });
  std::vector<WholeRow> whole_rows;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (outcomes[i].needs_whole_row) {
      whole_rows.push_back({&rows[i], std::move(outcomes[i]), &sampled[i]});
    } else {
      sampled[i] = std::move(outcomes[i].sampled);
    }
  }
  if (!whole_rows.empty()) sample_whole_rows(logits, whole_rows);
}

std::vector<float> Sampler::score(const TensorView& logits, std::span<const ScoreRow> rows) {
  check_logits(logits);
  for (const ScoreRow& row : rows) {
    check_row(row.logits_row, logits);
    TRIREME_CHECK(row.target >= 0 && row.target < vocab_size_, "target=", row.target,
                  " vocab_size=", vocab_size_);
  }
  if (rows.empty()) return {};
  learn_shards();
  struct Part {
    double sum;
    float largest, target;
  };
  constexpr std::size_t kPartWords = sizeof(Part) / sizeof(std::int32_t);
  words_.resize(rows.size() * kPartWords);
  for_each_row(rows.size(), [&](std::size_t i, std::size_t) {
    const std::span<const float> own = logits_of(logits, rows[i].logits_row);
    const LogSumExp model = log_sum_exp(own);
    const std::int64_t column = rows[i].target - std::int64_t{shard_.begin};
    const bool is_here = column >= 0 && column < shard_.num_valid;
    const Part part{model.sum, model.largest, is_here ? own[static_cast<std::size_t>(column)] : 0};
    std::memcpy(words_.data() + i * kPartWords, &part, sizeof(part));
  });
  const std::span<const std::int32_t> gathered = gather(words_);

  std::vector<float> scores(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    LogSumExp model;
    float target = 0;
    for (std::size_t rank = 0; rank + 1 < shard_begin_.size(); ++rank) {
      Part part;
      std::memcpy(&part, gathered.data() + rank * words_.size() + i * kPartWords, sizeof(part));
      model.add({part.largest, part.sum});
      const bool is_here =
          rows[i].target >= shard_begin_[rank] && rows[i].target < shard_begin_[rank + 1];
      if (is_here) target = part.target;
    }
    scores[i] = model.sum > 0 ? model.logprob(target) : std::numeric_limits<float>::quiet_NaN();
  }
  return scores;
}

void Sampler::learn_shards() {
  scratch_.resize(static_cast<std::size_t>(omp_get_max_threads()));
  if (!shard_begin_.empty()) return;
  words_ = {shard_.begin, shard_.num_valid};
  const std::span<const std::int32_t> gathered = gather(words_);
  std::vector<std::int64_t> begin{0};
  for (int rank = 0; rank < group_.size(); ++rank) {
    const std::int32_t first = gathered[static_cast<std::size_t>(2 * rank)];
    const std::int32_t count = gathered[static_cast<std::size_t>(2 * rank + 1)];
    TRIREME_CHECK(count == 0 || first == begin.back(), "rank=", rank, " begins at id ", first,
                  ", the ranks before end at ", begin.back());
    begin.push_back(begin.back() + count);
  }
  TRIREME_CHECK(begin.back() == vocab_size_, "shards hold ", begin.back(),
                " ids, vocab_size=", vocab_size_);
  shard_begin_ = std::move(begin);
}

void Sampler::check_logits(const TensorView& logits) const {
  TRIREME_CHECK(logits.shape.ndim() == 2 && logits.shape[1] == shard_.num_columns &&
                    shard_.num_valid <= shard_.num_columns,
                "logits=", logits.shape.text(), " columns=", shard_.num_columns,
                " valid=", shard_.num_valid);
}

std::span<const float> Sampler::logits_of(const TensorView& logits, std::int64_t row) const {
  return {logits.as<float>() + row * logits.row_stride, static_cast<std::size_t>(shard_.num_valid)};
}

std::span<const std::int32_t> Sampler::gather(std::span<std::int32_t> words) {
  if (group_.size() == 1) return words;
  const auto num_ranks = static_cast<std::size_t>(group_.size());
  gathered_.resize(words.size() * num_ranks);
  const std::vector<std::int64_t> counts(num_ranks, static_cast<std::int64_t>(words.size()));
  group_.all_gather(view_of(words), view_of(std::span(gathered_)), counts);
  return gathered_;
}

}  // namespace trireme::engine
