#include "engine/cuda/cuda_runner.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "engine/batch_builder.h"
#include "kernels/gemm.h"
#include "models/device_workspace.h"
#include "ops/op_timer.h"

namespace trireme::engine {
namespace {

using tensor::TensorView;

std::int64_t choices_per_token(const layers::MoeSpec& spec) {
  return std::ssize(spec.layers) * spec.top_k;
}

DeviceStepLimits step_limits(const RunnerParts& parts) {
  return {.num_slots = parts.max_batch_size,
          .max_batch_size = parts.max_batch_size,
          .max_num_tokens =
              std::max({parts.max_num_tokens, parts.max_batch_size, models::kLeastStepRows}),
          .max_blocks = (parts.max_seq_len + parts.tokens_per_block - 1) / parts.tokens_per_block,
          .num_groups = std::ssize(parts.model.kv_spec().groups),
          .tokens_per_block = parts.tokens_per_block,
          .choices_per_token = choices_per_token(parts.model.moe_spec()),
          .max_seq_len = parts.max_seq_len};
}

/// A graph's size for so many sequences: that of the products, so that no product is filled up.
std::int64_t graph_size(std::int64_t num_seqs, std::int64_t most) {
  return std::min(kernels::cuda::Gemm::bucket_of(num_seqs), most);
}

/// Decodes alone.
StepSize graph_step(std::int64_t num_seqs) {
  return {.num_seqs = num_seqs, .num_tokens = num_seqs, .num_decodes = num_seqs};
}

}  // namespace

std::unique_ptr<StepRunner> make_cuda_runner(const RunnerParts& parts) {
  return std::make_unique<CudaRunner>(parts);
}

CudaRunner::CudaRunner(const RunnerParts& parts)
    : parts_(parts),
      stream_(parts.context.ops.cuda->stream),
      slots_(static_cast<std::int32_t>(parts.max_batch_size),
             static_cast<std::int32_t>(parts.model.kv_spec().groups.size())),
      device_step_(step_limits(parts), parts.kv_cache.layers()),
      device_sampler_(parts.max_batch_size, parts.max_num_tokens, parts.vocab_size),
      counter_(parts.model.moe_spec(),
               {.is_on = true,
                .keeps_choices = parts.keeps_choices,
                .ep_size = 1,
                .clock = monotonic_seconds},
               kStepsInFlight),
      choices_per_token_(choices_per_token(parts.model.moe_spec())) {
  TRIREME_CHECK(parts.topology.sizes().world() == parts.topology.sizes().dp,
                "a replica over several GPUs");
  const std::int64_t most_tokens = std::max(parts.max_num_tokens, parts.max_batch_size);
  for (tensor::PinnedBuffer& buffer : choices_) {
    buffer = tensor::PinnedBuffer(
        static_cast<std::size_t>(most_tokens * choices_per_token_) * sizeof(std::int32_t),
        "the experts that a step chooses");
  }
  tune();
  if (parts.context.ops.cuda->timer == nullptr) record_graphs();
}

void CudaRunner::launch(const StepPlan& plan) {
  if (!steps_.empty() && !steps_.back().has_void_rows) {
    steps_.back().has_void_rows = true;
    steps_.back().void_rows = plan.void_rows;
    forget_counted();
  }
  slots_.apply(plan);
  if (plan.rows.empty()) {
    TRIREME_CHECK(plan.blocks.empty(), "step=", plan.step);
    return;
  }
  const double begin = monotonic_seconds();
  Step step;
  step.parity = static_cast<int>(num_launched_++ % kStepsInFlight);
  TRIREME_CHECK(
      std::ranges::none_of(steps_, [&](const Step& other) { return other.parity == step.parity; }),
      "step=", plan.step, " is launched before the one but one before it is read");
  collect_logit_rows(plan);
  step.is_graph = is_graph_step(plan);
  step.size = step_size(plan, step.is_graph);
  step.num_tokens = plan.num_tokens();
  step.layout = ResultLayout(plan, slots_, true);
  step.num_samples = logit_rows_.samples.size();
  step.num_scores = logit_rows_.scores.size();
  // The counter has a lane for each parity.
  step.choices = counter_.open(step.parity, plan, slots_);

  device_step_.send(plan, logit_rows_.tokens, step.size, step.parity, stream_);
  device_sampler_.send(logit_rows_.samples, logit_rows_.slots, step.size.num_seqs, step.parity,
                       stream_);
  if (step.is_graph) {
    const RecordedStep& recorded = graphs_.at(step.size.num_seqs);
    recorded.graph.launch(stream_);
    device_sampler_.sample_edited(recorded.logits, device_step_.slot_tokens(), step.parity,
                                  stream_);
  } else {
    run_eagerly(step);
  }
  if (choices_per_token_ > 0 && !step.choices.empty()) {
    stream_.copy_to_host(
        choices_[static_cast<std::size_t>(step.parity)].data(), device_step_.choices(),
        static_cast<std::size_t>(step.size.num_tokens * choices_per_token_) * sizeof(std::int32_t));
  }
  device_sampler_.return_results(step.num_samples, step.num_scores, step.parity, stream_);
  done_[static_cast<std::size_t>(step.parity)].record(stream_);
  steps_.push_back(std::move(step));
  forward_seconds_ += monotonic_seconds() - begin;
}

StepSize CudaRunner::step_size(const StepPlan& plan, bool is_graph) const {
  StepSize size{.num_seqs = std::ssize(plan.rows), .num_tokens = plan.num_tokens()};
  if (is_graph) return graph_step(graph_size(size.num_seqs, parts_.max_batch_size));
  for (const PlanRow& row : plan.rows) {
    if (row.num_tokens > 1) break;
    ++size.num_decodes;
  }
  return size;
}

bool CudaRunner::is_graph_step(const StepPlan& plan) const {
  return parts_.context.ops.cuda->timer == nullptr && logit_rows_.scores.empty() &&
         std::ranges::all_of(plan.rows, [](const PlanRow& row) {
           return row.is_decode() && row.samples() && row.num_tokens == 1;
         });
}

void CudaRunner::collect_logit_rows(const StepPlan& plan) {
  LogitRows& rows = logit_rows_;
  rows = {};
  std::int32_t first_token = 0;
  for (const PlanRow& row : plan.rows) {
    if (row.samples()) {
      const Slot& slot = slots_[row.slot];
      rows.samples.push_back(make_sample_row(row, slot, std::ssize(rows.samples)));
      rows.slots.push_back(row.slot);
      rows.tokens.push_back(first_token + row.num_tokens - 1);
    }
    first_token += row.num_tokens;
  }
  first_token = 0;
  std::size_t next_id = 0;
  for (const PlanRow& row : plan.rows) {
    for (std::int32_t offset = row.score_begin; offset < row.score_end; ++offset) {
      rows.scores.push_back({std::ssize(rows.scores),
                             plan.token_ids[next_id + static_cast<std::size_t>(offset) + 1]});
      rows.tokens.push_back(first_token + offset);
    }
    first_token += row.num_tokens;
    next_id += static_cast<std::size_t>(row.num_ids());
  }
}

TensorView CudaRunner::forward(const StepSize& size, std::int64_t num_logit_rows,
                               bool wants_all_logits) {
  device_step_.expand(size, stream_);
  layers::ForwardBatch batch = device_step_.batch(size, num_logit_rows);
  batch.wants_all_logits = wants_all_logits;
  return parts_.model.forward(parts_.context, batch, {});
}

TensorView CudaRunner::decode_all(const StepSize& size) {
  const tensor::ArenaScope scope(parts_.context.ops.arena);
  const TensorView logits = parts_.model.logits(parts_.context, forward(size, size.num_seqs, true));
  device_sampler_.sample(logits, size.num_seqs, device_step_.slot_tokens(), stream_);
  return logits;
}

// Every size runs once before it is recorded: kernels are loaded when they are first used, which
// must not happen while recording.
void CudaRunner::record_graphs() {
  for (std::int64_t num_seqs = 1;; ++num_seqs) {
    num_seqs = graph_size(num_seqs, parts_.max_batch_size);
    const StepSize size = graph_step(num_seqs);
    device_step_.send(StepPlan(), {}, size, 0, stream_);
    device_sampler_.send({}, {}, num_seqs, 0, stream_);
    decode_all(size);
    RecordedStep& recorded = graphs_[num_seqs];
    recorded.graph = tensor::Graph(stream_, [&] { recorded.logits = decode_all(size); });
    stream_.synchronize();
    if (num_seqs == parts_.max_batch_size) return;
  }
}

void CudaRunner::run_eagerly(const Step& step) {
  const tensor::ArenaScope scope(parts_.context.ops.arena);
  const auto num_samples = static_cast<std::int64_t>(step.num_samples);
  const auto num_scores = static_cast<std::int64_t>(step.num_scores);
  const TensorView hidden = forward(step.size, num_samples + num_scores);
  if (num_samples > 0) {
    const tensor::ArenaScope of_logits(parts_.context.ops.arena);
    const TensorView rows = parts_.model.logits(parts_.context, hidden.slice(0, num_samples));
    device_sampler_.sample(rows, num_samples, device_step_.slot_tokens(), stream_);
    device_sampler_.sample_edited(rows, device_step_.slot_tokens(), step.parity, stream_);
  }
  // Memory for the logits of max_batch_size rows is there.
  for (std::int64_t begin = 0; begin < num_scores; begin += parts_.max_batch_size) {
    const std::int64_t count = std::min(num_scores - begin, parts_.max_batch_size);
    const tensor::ArenaScope of_logits(parts_.context.ops.arena);
    const std::int64_t row = num_samples + begin;
    device_sampler_.score(parts_.model.logits(parts_.context, hidden.slice(row, row + count)),
                          logit_rows_.scores, begin, count, step.parity, stream_);
  }
}

std::vector<RowResult> CudaRunner::read(int) {
  const auto unread = std::ranges::find(steps_, false, &Step::is_read);
  TRIREME_CHECK(unread != steps_.end(), "nothing was launched");
  Step& step = *unread;
  const auto parity = static_cast<std::size_t>(step.parity);
  while (!done_[parity].has_happened()) parts_.idle();
  step.is_read = true;
  std::vector<SampledToken> tokens;
  for (std::size_t i = 0; i < step.num_samples; ++i) {
    tokens.push_back(device_sampler_.sampled(step.parity, i));
  }
  std::vector<RowResult> results =
      decode(step.layout,
             encode(step.layout, tokens, device_sampler_.scores(step.parity, step.num_scores)));
  forget_counted();
  return results;
}

void CudaRunner::forget_counted() {
  while (!steps_.empty() && steps_.front().is_read && steps_.front().has_void_rows) {
    count_experts(steps_.front());
    steps_.pop_front();
  }
}

void CudaRunner::count_experts(Step& step) {
  // [layers, size.num_tokens, top_k] there, [layers, num_tokens, top_k] here.
  const layers::MoeSpec& spec = parts_.model.moe_spec();
  const auto* from =
      static_cast<const std::int32_t*>(choices_[static_cast<std::size_t>(step.parity)].data());
  if (!step.choices.empty()) {
    const std::int64_t stride = step.size.num_tokens * spec.top_k;
    const std::int64_t count = step.num_tokens * spec.top_k;
    layers::ExpertChoice* to = step.choices.data();
    for (std::int64_t layer = 0; layer < std::ssize(spec.layers); ++layer) {
      for (std::int64_t i = 0; i < count; ++i) *to++ = {from[layer * stride + i], 0};
    }
  }
  counter_.settle(step.parity, step.void_rows);
}

void CudaRunner::finish() {
  for (Step& step : steps_) {
    while (!done_[static_cast<std::size_t>(step.parity)].has_happened()) parts_.idle();
    step.is_read = true;
    step.has_void_rows = true;
  }
  forget_counted();
}

// One size after the other: the library's own choice is up to a sixth slower than the best.
void CudaRunner::tune() {
  const ops::Context& ops = parts_.context.ops;
  const std::int64_t most = std::max(parts_.max_num_tokens, parts_.max_batch_size);
  if (ops.cuda->is_deterministic) {
    // One algorithm for all sizes, checked with as many rows in every configuration.
    const std::int64_t rows = models::kLeastStepRows;
    return tune_size({.num_seqs = 1, .num_tokens = rows}, rows);
  }
  if (ops.activation_dtype == DType::float32) return;
  for (std::int64_t tokens = 1;; ++tokens) {
    tokens = std::min(kernels::cuda::Gemm::bucket_of(tokens), most);
    tune_size({.num_seqs = 1, .num_tokens = tokens}, tokens <= parts_.max_batch_size ? tokens : 0);
    if (tokens == most) return;
  }
}

void CudaRunner::tune_size(const StepSize& size, std::int64_t num_logit_rows) {
  using Operands = kernels::cuda::Gemm::Operands;
  ops::CudaContext& cuda = *parts_.context.ops.cuda;
  std::vector<Operands> products;
  cuda.recorded = &products;
  ops::OpTimer* const timer = std::exchange(cuda.timer, nullptr);
  {
    // A step that only fills up: nothing is stored, and no expert has a token.
    StepPlan plan;
    const std::vector<std::int32_t> rows(static_cast<std::size_t>(num_logit_rows), 0);
    device_step_.send(plan, rows, size, 0, stream_);
    const tensor::ArenaScope scope(parts_.context.ops.arena);
    const TensorView hidden = forward(size, num_logit_rows);
    if (num_logit_rows > 0) parts_.model.logits(parts_.context, hidden);
  }
  cuda.recorded = nullptr;
  cuda.timer = timer;
  stream_.synchronize();
  // The same shape of several layers, until they are too much for the cache.
  constexpr std::int64_t kBytesBeyondCache = std::int64_t{200} << 20;
  while (!products.empty()) {
    const Operands first = products.front();
    std::vector<Operands> alike;
    std::int64_t bytes = 0;
    std::erase_if(products, [&](const Operands& o) {
      if (o.n != first.n || o.k != first.k || o.y_dtype != first.y_dtype ||
          o.x_stride != first.x_stride || (o.gate_up == nullptr) != (first.gate_up == nullptr)) {
        return false;
      }
      if (bytes < kBytesBeyondCache) alike.push_back(o);
      bytes += o.n * o.k * static_cast<std::int64_t>(size_of(o.dtype));
      return true;
    });
    cuda.gemm.tune(alike, stream_.get());
  }
}

}  // namespace trireme::engine
