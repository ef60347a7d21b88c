#include "engine/model_runner.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"
#include "comm/factory.h"

namespace trireme::engine {
namespace {

tensor::TensorView words_view(std::vector<std::int32_t>& words) {
  return {words.data(), DType::int32, {std::ssize(words)}};
}

}  // namespace

ModelRunner::ModelRunner(const RunnerParts& parts)
    : parts_(parts),
      stage_(parts.topology.coordinates(parts.rank).pp),
      num_stages_(parts.topology.sizes().pp),
      with_details_(parts.context.attention_dp || parts.topology.coordinates(parts.rank).tp == 0),
      slots_(static_cast<std::int32_t>(num_stages_ * parts.max_batch_size),
             static_cast<std::int32_t>(parts.model.kv_spec().groups.size())),
      builder_(parts.tokens_per_block, parts.kv_cache.layers()),
      alone_(comm::make_communicator(comm::MpiComm(), "mpi")),
      sampler_(parts.model.vocab_shard(), parts.vocab_size,
               parts.context.attention_dp ? *alone_ : *parts.context.groups.tp),
      counter_(parts.model.moe_spec(),
               {.is_on = with_details_,
                .keeps_choices = parts.keeps_choices,
                .ep_size = parts.topology.sizes().moe_ep,
                .clock = monotonic_seconds},
               num_stages_),
      lanes_(static_cast<std::size_t>(num_stages_)) {
  if (num_stages_ == 1) return;
  const tensor::Shape shape{parts.max_num_tokens, parts.hidden_size};
  for (Lane& of_lane : lanes_) {
    if (stage_ > 0) of_lane.hidden_in = tensor::Tensor(shape, DType::float32);
    if (stage_ + 1 < num_stages_) of_lane.hidden_out = tensor::Tensor(shape, DType::float32);
  }
}

void ModelRunner::wait(comm::Transfer& transfer) {
  while (!transfer.test()) parts_.idle();
}

void ModelRunner::launch(const StepPlan& plan) {
  Lane& of_lane = lane(plan.lane);
  settle(of_lane);  // decodes read what the lane's step before sampled
  counter_.settle(plan.lane, plan.void_rows);
  slots_.apply(plan);
  const bool has_own_tokens = !plan.rows.empty();
  const bool has_tokens =
      has_own_tokens || std::any_of(plan.tokens_of_rank.begin(), plan.tokens_of_rank.end(),
                                    [](auto count) { return count > 0; });
  if (!has_tokens) return;

  const tensor::ArenaScope scope(parts_.context.ops.arena);
  const bool is_last_stage = stage_ + 1 == num_stages_;
  const layers::ForwardBatch& batch =
      builder_.build(plan, slots_, is_last_stage, counter_.open(plan.lane, plan, slots_));
  of_lane.layout = ResultLayout(plan, slots_, with_details_);
  tensor::TensorView hidden;
  if (stage_ > 0) hidden = receive_hidden(of_lane, batch.num_tokens());

  const double begin = monotonic_seconds();
  hidden = parts_.model.forward(parts_.context, batch, hidden);
  forward_seconds_ += monotonic_seconds() - begin;

  if (!has_own_tokens) return;
  if (!is_last_stage) {
    send_hidden(of_lane, hidden);
    if (stage_ == 0) {
      of_lane.words.assign(static_cast<std::size_t>(of_lane.layout.num_words()), 0);
      of_lane.token_transfer =
          parts_.context.groups.pp_tokens->receive(words_view(of_lane.words), num_stages_ - 1);
    }
    return;
  }
  sample(of_lane, batch, hidden);
}

tensor::TensorView ModelRunner::receive_hidden(Lane& of_lane, std::int64_t num_tokens) {
  const tensor::TensorView hidden = of_lane.hidden_in.view().slice(0, num_tokens);
  if (num_tokens > 0) {
    wait(*parts_.context.groups.pp_hidden->receive(hidden, stage_ - 1));
  }
  return hidden;
}

void ModelRunner::send_hidden(Lane& of_lane, const tensor::TensorView& hidden) {
  if (of_lane.hidden_send) wait(*of_lane.hidden_send);
  const tensor::TensorView out = of_lane.hidden_out.view().slice(0, hidden.rows());
  std::memcpy(out.data, hidden.data, hidden.size_bytes());
  of_lane.hidden_send = parts_.context.groups.pp_hidden->send(out, stage_ + 1);
}

void ModelRunner::sample(Lane& of_lane, const layers::ForwardBatch& batch,
                         const tensor::TensorView& hidden) {
  const double begin = monotonic_seconds();
  std::vector<SampledToken> tokens;
  std::vector<float> scores;
  if (!batch.logit_rows.empty()) {
    const tensor::TensorView logits = parts_.model.logits(parts_.context, hidden);
    if (!builder_.sample_rows().empty()) tokens = sampler_.sample(logits, builder_.sample_rows());
    if (!builder_.score_rows().empty()) scores = sampler_.score(logits, builder_.score_rows());
  }
  sample_seconds_ += monotonic_seconds() - begin;

  if (of_lane.token_transfer) wait(*std::exchange(of_lane.token_transfer, nullptr));
  of_lane.words = encode(of_lane.layout, tokens, scores);
  if (num_stages_ == 1) {
    deliver(of_lane);
    return;
  }
  // Here the tokens are needed too where penalties look at what was generated.
  record_tokens(of_lane.layout, decode(of_lane.layout, of_lane.words));
  of_lane.token_transfer = parts_.context.groups.pp_tokens->send(words_view(of_lane.words), 0);
}

void ModelRunner::settle(Lane& of_lane) {
  if (stage_ > 0 || !of_lane.token_transfer) return;
  wait(*std::exchange(of_lane.token_transfer, nullptr));
  deliver(of_lane);
}

void ModelRunner::deliver(Lane& of_lane) {
  std::vector<RowResult> results = decode(of_lane.layout, of_lane.words);
  record_tokens(of_lane.layout, results);
  if (parts_.topology.is_leader(parts_.rank)) of_lane.results.push_back(std::move(results));
}

// A slot that was freed meanwhile takes the token too; it means nothing there, and what is admitted
// next starts with a chunk and samples its own before a decode reads it.
void ModelRunner::record_tokens(const ResultLayout& layout, const std::vector<RowResult>& results) {
  for (std::size_t i = 0; i < layout.rows.size(); ++i) {
    if (!layout.rows[i].samples) continue;
    Slot& slot = slots_[layout.rows[i].slot];
    slot.last_token = results[i].token;
    if (slot.params.has_penalty() && results[i].token >= 0) slot.tokens.push_back(results[i].token);
  }
}

std::vector<RowResult> ModelRunner::read(int lane_idx) {
  Lane& of_lane = lane(lane_idx);
  if (of_lane.results.empty()) settle(of_lane);
  TRIREME_CHECK(!of_lane.results.empty(), "lane=", lane_idx);
  std::vector<RowResult> results = std::move(of_lane.results.front());
  of_lane.results.pop_front();
  return results;
}

void ModelRunner::finish() {
  for (Lane& of_lane : lanes_) {
    settle(of_lane);
    if (of_lane.hidden_send) wait(*of_lane.hidden_send);
    if (of_lane.token_transfer) wait(*of_lane.token_transfer);
  }
  for (int lane_idx = 0; lane_idx < num_stages_; ++lane_idx) counter_.settle(lane_idx, {});
}

}  // namespace trireme::engine
