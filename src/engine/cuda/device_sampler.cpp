#include "engine/cuda/device_sampler.h"

#include <algorithm>
#include <utility>

namespace trireme::engine {
namespace {

using kernels::SamplingRow;
using tensor::TensorView;

constexpr std::int64_t kMaxTop = kernels::kMostTopLogprobs;
constexpr const char* kKey = "max_batch_size";

/// What is listed of an edited row's own logits; its token is drawn elsewhere.
SamplingRow listing_row(SamplingRow row) {
  if (row.num_top <= 0) return {};
  row.temperature = 0;
  row.slot = -1;
  return row;
}

}  // namespace

DeviceSampler::DeviceSampler(std::int64_t max_batch_size, std::int64_t max_scores,
                             std::int64_t vocab_size)
    : vocab_size_(vocab_size), edited_(max_batch_size, vocab_size) {
  MemoryMap input, output;
  rows_ = input.reserve<SamplingRow>(max_batch_size);
  targets_ = input.reserve<std::int32_t>(max_scores);
  tokens_ = output.reserve<std::int32_t>(max_batch_size);
  logprobs_ = output.reserve<float>(max_batch_size);
  top_ids_ = output.reserve<std::int32_t>(max_batch_size * kMaxTop);
  top_logprobs_ = output.reserve<float>(max_batch_size * kMaxTop);
  scores_ = output.reserve<float>(max_scores);
  output_bytes_ = output.size_bytes();
  for (Pinned& pinned : pinned_) {
    pinned.input = tensor::PinnedBuffer(input.size_bytes(), "the rows to sample");
    pinned.output = tensor::PinnedBuffer(output_bytes_, "what is sampled");
  }
  input_ = tensor::DeviceBuffer(input.size_bytes(), "the rows to sample", kKey);
  output_ = tensor::DeviceBuffer(output_bytes_, "what is sampled", kKey);
  workspace_ = tensor::DeviceBuffer(
      kernels::cuda::sampling_workspace_bytes(max_batch_size, vocab_size), "sampling", kKey);
  const tensor::Stream stream;
  stream.fill(workspace_.data(), 0, workspace_.size_bytes());
  stream.synchronize();
}

void DeviceSampler::send(std::span<const SampleRow> rows, std::span<const std::int32_t> slots,
                         std::int64_t num_rows, int parity, const tensor::Stream& stream) {
  Pinned& memory = pinned(parity);
  memory.num_top.clear();
  memory.wants_top = false;
  SamplingRow* to = rows_.in(memory.input.data());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const SamplingParams& params = *rows[i].params;
    memory.num_top.push_back(params.logprobs);
    memory.wants_top = memory.wants_top || params.logprobs > 0;
    to[i] = sampling_row(rows[i], slots[i], vocab_size_);
    if (rows[i].is_edited()) to[i] = listing_row(to[i]);
  }
  const auto end = std::max<std::size_t>(rows.size(), static_cast<std::size_t>(num_rows));
  std::fill(to + rows.size(), to + end, SamplingRow{.logits_row = -1});
  stream.copy_to_device(input_.data(), memory.input.data(), end * sizeof(SamplingRow));
  edited_.send(rows, slots, parity, stream);
}

void DeviceSampler::sample(const TensorView& logits, std::int64_t num_rows, const SlotTokens& slots,
                           const tensor::Stream& stream) {
  kernels::cuda::sample({.logits = logits.as<float>(),
                         .logits_stride = logits.row_stride,
                         .vocab_size = vocab_size_,
                         .rows = rows_.in(input_.data()),
                         .num_rows = num_rows,
                         .max_top = kMaxTop,
                         .last_token = slots.last,
                         .tokens = tokens_.in(output_.data()),
                         .logprobs = logprobs_.in(output_.data()),
                         .top_ids = top_ids_.in(output_.data()),
                         .top_logprobs = top_logprobs_.in(output_.data()),
                         .workspace = workspace_.data()},
                        stream.get());
}

void DeviceSampler::score(const TensorView& logits, std::span<const ScoreRow> rows,
                          std::int64_t begin, std::int64_t count, int parity,
                          const tensor::Stream& stream) {
  std::int32_t* targets = targets_.in(pinned(parity).input.data()) + begin;
  for (std::int64_t i = 0; i < count; ++i) {
    targets[i] = rows[static_cast<std::size_t>(begin + i)].target;
  }
  std::int32_t* there = targets_.in(input_.data()) + begin;
  stream.copy_to_device(there, targets, static_cast<std::size_t>(count) * sizeof(std::int32_t));
  kernels::cuda::score({.logits = logits.as<float>(),
                        .logits_stride = logits.row_stride,
                        .vocab_size = vocab_size_,
                        .targets = there,
                        .num_rows = count,
                        .logprobs = scores_.in(output_.data()) + begin},
                       stream.get());
}

void DeviceSampler::return_results(std::size_t num_rows, std::size_t num_scores, int parity,
                                   const tensor::Stream& stream) {
  Pinned& memory = pinned(parity);
  const auto copy = [&](std::size_t offset, std::size_t bytes) {
    if (bytes == 0) return;
    stream.copy_to_host(static_cast<std::byte*>(memory.output.data()) + offset,
                        static_cast<const std::byte*>(output_.data()) + offset, bytes);
  };
  if (num_rows > 0) {
    copy(0, memory.wants_top ? scores_.offset : logprobs_.offset + num_rows * sizeof(float));
  }
  copy(scores_.offset, num_scores * sizeof(float));
  edited_.return_results(parity, stream);
}

SampledToken DeviceSampler::sampled(int parity, std::size_t row) const {
  const Pinned& memory = pinned_[static_cast<std::size_t>(parity)];
  void* output = memory.output.data();
  const std::int32_t num_top = memory.num_top[row];
  SampledToken result;
  if (std::optional<SampledToken> edited = edited_.sampled(parity, row)) {
    result = std::move(*edited);
  } else {
    result.token = tokens_.in(output)[row];
    if (num_top >= 0) result.logprob = logprobs_.in(output)[row];
  }
  const std::int32_t* ids = top_ids_.in(output) + row * kMaxTop;
  const float* logprobs = top_logprobs_.in(output) + row * kMaxTop;
  for (std::int32_t i = 0; i < num_top && ids[i] >= 0; ++i) {
    result.top_ids.push_back(ids[i]);
    result.top_logprobs.push_back(logprobs[i]);
  }
  return result;
}

std::span<const float> DeviceSampler::scores(int parity, std::size_t num_scores) const {
  return {scores_.in(pinned_[static_cast<std::size_t>(parity)].output.data()), num_scores};
}

}  // namespace trireme::engine
