#include "engine/cuda/edited_rows.h"

#include <algorithm>
#include <cstring>

#include "models/device_workspace.h"

namespace trireme::engine {
namespace {

using kernels::SamplingRow;
using kernels::cuda::LogitChange;
using kernels::cuda::LogitEditRow;
using tensor::TensorView;

constexpr const char* kKey = "max_batch_size";
/// Biases and banned ids of a step that there is room for at first.
constexpr std::size_t kFirstChanges = std::size_t{1} << 16;

}  // namespace

SamplingRow sampling_row(const SampleRow& row, std::int32_t slot, std::int64_t vocab_size) {
  const SamplingParams& params = *row.params;
  return {.position = row.position,
          .key = row.key,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .logits_row = static_cast<std::int32_t>(row.logits_row),
          .temperature = static_cast<float>(params.temperature),
          .top_k = static_cast<std::int32_t>(std::min(params.top_k, vocab_size)),
          .num_top = params.logprobs,
          .slot = slot};
}

EditedRows::EditedRows(std::int64_t max_batch_size, std::int64_t vocab_size)
    : vocab_size_(vocab_size),
      rows_at_once_(std::min(max_batch_size, models::kMostEditedRows)),
      stride_((vocab_size + 3) / 4 * 4) {
  MemoryMap input, output;
  draws_ = input.reserve<SamplingRow>(max_batch_size);
  edits_ = input.reserve<LogitEditRow>(max_batch_size);
  scored_rows_ = input.reserve<std::int32_t>(max_batch_size);
  tokens_ = output.reserve<std::int32_t>(max_batch_size);
  logprobs_ = output.reserve<float>(max_batch_size);
  for (Pinned& pinned : pinned_) {
    pinned.input = tensor::PinnedBuffer(input.size_bytes(), "the rows to edit");
    pinned.output = tensor::PinnedBuffer(output.size_bytes(), "what edited rows sample");
    pinned.changes = tensor::PinnedBuffer(kFirstChanges * sizeof(LogitChange), "biases");
  }
  input_ = tensor::DeviceBuffer(input.size_bytes(), "the rows to edit", kKey);
  output_ = tensor::DeviceBuffer(output.size_bytes(), "what edited rows sample", kKey);
  changes_ = tensor::DeviceBuffer(kFirstChanges * sizeof(LogitChange), "biases", kKey);
  edited_ = tensor::DeviceBuffer(static_cast<std::size_t>(rows_at_once_ * stride_) * sizeof(float),
                                 "edited logits", kKey);
}

LogitEditRow EditedRows::edit_row(const SampleRow& row, std::int32_t slot) {
  const SamplingParams& params = *row.params;
  LogitEditRow edit;
  edit.logits_row = static_cast<std::int32_t>(row.logits_row);
  edit.slot = slot;
  if (params.has_penalty()) {
    edit.num_tokens = static_cast<std::int32_t>(row.position);
    edit.prompt_length = static_cast<std::int32_t>(row.prompt.size());
    edit.repetition_penalty = static_cast<float>(params.repetition_penalty);
    edit.presence_penalty = static_cast<float>(params.presence_penalty);
    edit.frequency_penalty = static_cast<float>(params.frequency_penalty);
  }
  edit.first_change = static_cast<std::int32_t>(new_changes_.size());
  edit.num_biases = static_cast<std::int32_t>(params.logit_bias.size());
  edit.num_banned = static_cast<std::int32_t>(row.banned.size());
  for (const auto& [id, bias] : params.logit_bias) new_changes_.push_back({id, bias});
  for (const std::int32_t id : row.banned) new_changes_.push_back({id, 0});
  return edit;
}

void EditedRows::send(std::span<const SampleRow> rows, std::span<const std::int32_t> slots,
                      int parity, const tensor::Stream& stream) {
  Pinned& memory = pinned(parity);
  memory.edited_of_row.assign(rows.size(), -1);
  memory.num_edited = 0;
  memory.wants_logprobs = false;
  new_changes_.clear();
  void* input = memory.input.data();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].is_edited()) continue;
    const std::int64_t idx = memory.num_edited++;
    const bool wants_logprob = rows[i].params->logprobs >= 0;
    memory.edited_of_row[i] = idx;
    memory.wants_logprobs |= wants_logprob;
    SamplingRow& draw = draws_.in(input)[idx];
    draw = sampling_row(rows[i], slots[i], vocab_size_);
    draw.logits_row = static_cast<std::int32_t>(idx % rows_at_once_);
    draw.num_top = -1;
    edits_.in(input)[idx] = edit_row(rows[i], slots[i]);
    scored_rows_.in(input)[idx] =
        wants_logprob ? static_cast<std::int32_t>(rows[i].logits_row) : -1;
  }
  if (memory.num_edited == 0) return;
  stream.copy_to_device(input_.data(), input, input_.size_bytes());
  send_changes(memory, stream);
}

void EditedRows::send_changes(Pinned& memory, const tensor::Stream& stream) {
  const std::size_t bytes = new_changes_.size() * sizeof(LogitChange);
  if (bytes == 0) return;
  if (bytes > memory.changes.size_bytes()) {
    memory.changes = tensor::PinnedBuffer(2 * bytes, "biases");
  }
  if (bytes > changes_.size_bytes()) {
    stream.synchronize();  // the step before may still read them
    changes_ = {};
    changes_ = tensor::DeviceBuffer(2 * bytes, "biases", kKey);
  }
  std::memcpy(memory.changes.data(), new_changes_.data(), bytes);
  stream.copy_to_device(changes_.data(), memory.changes.data(), bytes);
}

void EditedRows::edit(const TensorView& logits, const SlotTokens& slots, std::int64_t begin,
                      std::int64_t count, const tensor::Stream& stream) const {
  kernels::cuda::edit_logits({.logits = logits.as<float>(),
                              .logits_stride = logits.row_stride,
                              .vocab_size = vocab_size_,
                              .rows = edits_.in(input_.data()) + begin,
                              .num_rows = count,
                              .changes = static_cast<const LogitChange*>(changes_.data()),
                              .history = slots.history,
                              .history_stride = slots.max_seq_len,
                              .edited = static_cast<float*>(edited_.data()),
                              .edited_stride = stride_},
                             stream.get());
}

void EditedRows::draw(const TensorView& logits, const SlotTokens& slots, void* workspace,
                      int parity, const tensor::Stream& stream) {
  const Pinned& memory = pinned(parity);
  if (memory.num_edited == 0) return;
  std::int32_t* tokens = tokens_.in(output_.data());
  for (std::int64_t begin = 0; begin < memory.num_edited; begin += rows_at_once_) {
    const std::int64_t count = std::min(rows_at_once_, memory.num_edited - begin);
    edit(logits, slots, begin, count, stream);
    kernels::cuda::sample({.logits = static_cast<const float*>(edited_.data()),
                           .logits_stride = stride_,
                           .vocab_size = vocab_size_,
                           .rows = draws_.in(input_.data()) + begin,
                           .num_rows = count,
                           .last_token = slots.last,
                           .tokens = tokens + begin,
                           .workspace = workspace},
                          stream.get());
  }
  if (!memory.wants_logprobs) return;
  kernels::cuda::score({.logits = logits.as<float>(),
                        .logits_stride = logits.row_stride,
                        .vocab_size = vocab_size_,
                        .logits_rows = scored_rows_.in(input_.data()),
                        .targets = tokens,
                        .num_rows = memory.num_edited,
                        .logprobs = logprobs_.in(output_.data())},
                       stream.get());
}

void EditedRows::return_results(int parity, const tensor::Stream& stream) {
  Pinned& memory = pinned(parity);
  if (memory.num_edited == 0) return;
  const std::size_t bytes =
      static_cast<std::size_t>(memory.num_edited) * sizeof(float) + logprobs_.offset;
  stream.copy_to_host(memory.output.data(), output_.data(), bytes);
}

std::optional<SampledToken> EditedRows::sampled(int parity, std::size_t row) const {
  const Pinned& memory = pinned_[static_cast<std::size_t>(parity)];
  const std::int64_t idx = memory.edited_of_row[row];
  if (idx < 0) return std::nullopt;
  SampledToken result;
  result.token = tokens_.in(memory.output.data())[idx];
  // Without a token nothing was scored.
  const bool is_scored = scored_rows_.in(memory.input.data())[idx] >= 0 && result.token >= 0;
  if (is_scored) result.logprob = logprobs_.in(memory.output.data())[idx];
  return result;
}

}  // namespace trireme::engine
