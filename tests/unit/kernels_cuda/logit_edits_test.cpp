#include "kernels/logit_edits.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <random>

#include "device_data.h"
#include "engine/row_logits.h"

namespace trireme::kernels {
namespace {

using engine::SampleRow;
using engine::SamplingParams;
using Ids = std::vector<std::int32_t>;

/// Rows of logits, what each row asks for, and the tokens of its slot.
struct Rows {
  std::int64_t vocab_size = 0;
  std::vector<std::vector<float>> logits;
  std::vector<SamplingParams> params;
  std::vector<Ids> prompts, generated, banned;

  explicit Rows(std::int64_t size_of_vocabulary) : vocab_size(size_of_vocabulary) {}
  std::size_t size() const { return params.size(); }
};

/// Half of the ids are of a few, so that they occur often; some are outside the vocabulary.
Ids random_ids(std::size_t count, std::int64_t vocab_size, std::mt19937& generator) {
  const std::int32_t outside[] = {-1, static_cast<std::int32_t>(vocab_size),
                                  std::numeric_limits<std::int32_t>::max(),
                                  std::numeric_limits<std::int32_t>::min()};
  Ids ids(count);
  for (std::int32_t& id : ids) {
    const auto form = generator() % 20;
    const std::int64_t most = form < 10 ? std::min<std::int64_t>(vocab_size, 40) : vocab_size;
    id = form == 0 ? outside[generator() % 4]
                   : static_cast<std::int32_t>(vocab_size - 1 - generator() % most);
  }
  return ids;
}

std::vector<float> random_logits(std::int64_t vocab_size, std::mt19937& generator) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float special[] = {0.0F,       -0.0F,  kInfinity,
                           -kInfinity, 1e-41F, std::numeric_limits<float>::quiet_NaN()};
  std::normal_distribution<float> normal(0, 5);
  std::vector<float> logits(static_cast<std::size_t>(vocab_size));
  for (float& logit : logits) {
    logit = generator() % 50 == 0 ? special[generator() % 6] : normal(generator);
  }
  return logits;
}

/// Penalties alone and together, biases and bans, by the bits of `which`.
void add_row(Rows& rows, unsigned which, std::size_t prompt_length, std::size_t num_generated,
             std::mt19937& generator) {
  SamplingParams params;
  if ((which & 1U) != 0) params.repetition_penalty = 1.3;
  if ((which & 2U) != 0) params.presence_penalty = 0.7;
  if ((which & 4U) != 0) params.frequency_penalty = -0.23;
  if ((which & 8U) != 0) {
    for (const std::int32_t id : random_ids(300, rows.vocab_size, generator)) {
      params.logit_bias.emplace_back(id, static_cast<float>(generator() % 1000) / 7.0F - 60.0F);
    }
    std::ranges::stable_sort(params.logit_bias, {}, [](const auto& bias) { return bias.first; });
  }
  rows.banned.push_back((which & 16U) != 0 ? random_ids(9, rows.vocab_size, generator) : Ids());
  rows.logits.push_back(random_logits(rows.vocab_size, generator));
  rows.prompts.push_back(random_ids(prompt_length, rows.vocab_size, generator));
  rows.generated.push_back(random_ids(num_generated, rows.vocab_size, generator));
  rows.params.push_back(std::move(params));
}

/// On the GPU: rows in another order than their logits and their slots.
class DeviceRows {
 public:
  explicit DeviceRows(const Rows& rows)
      : rows_(rows), logits_stride_(rows.vocab_size + 3), edited_stride_(rows.vocab_size + 1) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      history_stride_ = std::max(history_stride_, length(i) + 2);
    }
    logits_.resize(rows.size() * static_cast<std::size_t>(logits_stride_));
    history_.resize(rows.size() * static_cast<std::size_t>(history_stride_), 1);
    for (std::size_t i = 0; i < rows.size(); ++i) add(i);
  }

  std::vector<std::vector<float>> edited() const {
    const OnDevice<float> logits(logits_);
    const OnDevice<std::int32_t> history(history_);
    const OnDevice<cuda::LogitChange> changes(changes_);
    const OnDevice<cuda::LogitEditRow> edits(edits_);
    const OnDevice<float> edited(rows_.size() * static_cast<std::size_t>(edited_stride_));
    const tensor::Stream stream;
    cuda::edit_logits({.logits = logits.data(),
                       .logits_stride = logits_stride_,
                       .vocab_size = rows_.vocab_size,
                       .rows = edits.data(),
                       .num_rows = std::ssize(edits_),
                       .changes = changes.data(),
                       .history = history.data(),
                       .history_stride = history_stride_,
                       .edited = edited.data(),
                       .edited_stride = edited_stride_},
                      stream.get());
    stream.synchronize();
    const std::vector<float> values = edited.values();
    std::vector<std::vector<float>> result;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i) * edited_stride_;
      result.emplace_back(begin, begin + rows_.vocab_size);
    }
    return result;
  }

 private:
  std::int64_t length(std::size_t i) const {
    return std::ssize(rows_.prompts[i]) + std::ssize(rows_.generated[i]);
  }
  void add(std::size_t i) {
    const std::size_t place = rows_.size() - 1 - i;
    std::ranges::copy(rows_.logits[i],
                      logits_.begin() + static_cast<std::ptrdiff_t>(place) * logits_stride_);
    const std::size_t slot = (i + 1) % rows_.size();
    const auto tokens = history_.begin() + static_cast<std::ptrdiff_t>(slot) * history_stride_;
    std::ranges::copy(rows_.generated[i], std::ranges::copy(rows_.prompts[i], tokens).out);
    const SamplingParams& params = rows_.params[i];
    edits_.push_back({.logits_row = static_cast<std::int32_t>(place),
                      .slot = static_cast<std::int32_t>(slot),
                      .num_tokens = params.has_penalty() ? static_cast<std::int32_t>(length(i)) : 0,
                      .prompt_length = static_cast<std::int32_t>(rows_.prompts[i].size()),
                      .repetition_penalty = static_cast<float>(params.repetition_penalty),
                      .presence_penalty = static_cast<float>(params.presence_penalty),
                      .frequency_penalty = static_cast<float>(params.frequency_penalty),
                      .first_change = static_cast<std::int32_t>(changes_.size()),
                      .num_biases = static_cast<std::int32_t>(params.logit_bias.size()),
                      .num_banned = static_cast<std::int32_t>(rows_.banned[i].size())});
    for (const auto& [id, bias] : params.logit_bias) changes_.push_back({id, bias});
    for (const std::int32_t id : rows_.banned[i]) changes_.push_back({id, 0});
  }

  const Rows& rows_;
  std::int64_t logits_stride_, edited_stride_, history_stride_ = 1;
  std::vector<float> logits_;
  Ids history_;
  std::vector<cuda::LogitChange> changes_{{0, 0}};  // one that is no row's
  std::vector<cuda::LogitEditRow> edits_;
};

void expect_as_on_cpu(const Rows& rows) {
  const std::vector<std::vector<float>> actual = DeviceRows(rows).edited();

  engine::RowScratch scratch;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const SampleRow row{.params = &rows.params[i],
                        .prompt = rows.prompts[i],
                        .generated = rows.generated[i],
                        .banned = rows.banned[i]};
    const std::span<const float> expected =
        engine::prepared_logits(rows.logits[i], 0, row, scratch);
    std::size_t num_wrong = 0;
    for (std::size_t id = 0; id < expected.size(); ++id) {
      const bool is_same = std::isnan(expected[id]) ? std::isnan(actual[i][id])
                                                    : std::bit_cast<unsigned>(expected[id]) ==
                                                          std::bit_cast<unsigned>(actual[i][id]);
      if (!is_same && ++num_wrong <= 3) {
        ADD_FAILURE() << "vocabulary " << rows.vocab_size << " row " << i << " id " << id << ": "
                      << actual[i][id] << ", expected " << expected[id];
      }
    }
  }
}

class GpuLogitEdits : public testing::TestWithParam<std::int64_t> {};

TEST_P(GpuLogitEdits, GivesTheBitsOfTheCpuForEachKindOfEdit) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(31);
  Rows rows(GetParam());
  for (unsigned which = 0; which < 32; ++which) add_row(rows, which, 90, 170, generator);

  expect_as_on_cpu(rows);
}

TEST_P(GpuLogitEdits, CountsHistoriesOfAnyLength) {
  TRIREME_REQUIRES_GPU();
  std::mt19937 generator(32);
  Rows rows(GetParam());
  for (const std::size_t length : {0U, 1U, 31U, 512U, 5001U, 40000U}) {
    for (const std::size_t num_generated : {std::size_t{0}, length / 3, length}) {
      add_row(rows, 31, length - num_generated, num_generated, generator);
    }
  }

  expect_as_on_cpu(rows);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, GpuLogitEdits,
                         testing::Values(7, 100, 8191, 8192, 8193, 32000, 150000));

TEST(GpuLogitEdits, AddsAllBiasesOfAnIdInTheirOrder) {
  TRIREME_REQUIRES_GPU();
  Rows rows(5);
  std::mt19937 generator(33);
  add_row(rows, 0, 3, 3, generator);
  rows.logits.back() = {0.1F, 0.2F, 0.3F, 0.4F, 0.5F};
  for (int i = 0; i < 2000; ++i) {
    rows.params.back().logit_bias.emplace_back(i / 1000 + 2, i % 7 == 0 ? 1e4F : -0.37F);
  }

  expect_as_on_cpu(rows);
}

}  // namespace
}  // namespace trireme::kernels
