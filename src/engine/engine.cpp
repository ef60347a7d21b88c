#include "engine/engine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"

namespace trireme::engine {

Engine::Engine(const EngineOptions& options, EngineParts parts)
    : options_(options), parts_(std::move(parts)) {
  const layers::KvSpec& spec = parts_.model.kv_spec();
  kv_capacity_ = parts_.groups.sequence.min(kv_capacity(spec, options_.kv));
  const std::vector<PoolShape> pools = pool_shapes(spec, options_.kv, kv_capacity_);
  kv_cache_ = std::make_unique<KvCache>(
      spec, options_.kv, pools,
      parts_.context.ops.is_on_gpu() ? tensor::Place::device : tensor::Place::host);
  channel_ = std::make_unique<PlanChannel>(parts_.groups.sequence, [this] { idle(); });
  runner_ = make_step_runner({.model = parts_.model,
                              .context = parts_.context,
                              .kv_cache = *kv_cache_,
                              .topology = parts_.topology,
                              .rank = parts_.rank,
                              .hidden_size = parts_.hidden_size,
                              .vocab_size = parts_.vocab_size,
                              .tokens_per_block = options_.kv.tokens_per_block,
                              .max_batch_size = options_.limits.max_batch_size,
                              .max_num_tokens = options_.limits.max_num_tokens,
                              .max_seq_len = options_.kv.max_seq_len,
                              .keeps_choices = options_.keeps_choices,
                              .idle = [this] { idle(); }});
  parts_.context.progress = [this] { poll(); };
  if (!parts_.topology.is_leader(parts_.rank)) return;
  scheduler_ = std::make_unique<Scheduler>(
      options_.limits,
      BlockManager(pools, options_.kv.tokens_per_block, options_.enable_block_reuse,
                   options_.reuse_seed),
      parts_.rules, [this](Completion completion) { parts_.sink->finish(std::move(completion)); });
}

Engine::~Engine() { parts_.context.progress = {}; }

bool Engine::run() {
  const bool is_complete = scheduler_ ? run_leader() : run_member();
  runner_->finish();
  channel_->flush();
  return is_complete;
}

bool Engine::run_leader() {
  const std::int64_t num_lanes = options_.limits.num_lanes;
  StepPlan plan = next_plan(0);
  for (std::int64_t step = 0;; ++step) {
    const Agreement agreement = agree(plan);
    if (agreement.is_done) {
      plan.is_last = true;
      plan.is_abort = agreement.is_stopped;
      if (!plan.is_abort) {
        send_void_rows(step);
        runner_->launch(plan);
      }
      channel_->send(plan);
      return !agreement.is_stopped;
    }
    if (agreement.has_tokens || !plan.is_empty()) {
      channel_->send(plan);
      if (!plan.rows.empty()) unread_steps_.push_back(step);
      runner_->launch(plan);
      idle_polls_ = 0;
    } else if (unread_steps_.empty()) {
      idle();
    }
    // The lane of the step planned next has at most this one step unread; without planning ahead
    // none.
    collect(step - num_lanes + (options_.plan_ahead > 0 ? 0 : 1));
    plan = next_plan(step + 1);
    if (parts_.on_step) parts_.on_step(stats());
  }
}

bool Engine::run_member() {
  while (true) {
    const StepPlan plan = channel_->receive();
    if (plan.is_abort) return false;
    runner_->launch(plan);
    if (plan.is_last) return true;
    idle_polls_ = 0;
  }
}

StepPlan Engine::next_plan(std::int64_t step) {
  const double begin = monotonic_seconds();
  poll();
  // Enough is queued to fill every lane once more; the rest waits where it is cheaper to hold.
  const std::int64_t enough = options_.limits.max_batch_size * options_.limits.num_lanes;
  while (scheduler_->num_waiting() < enough) {
    std::optional<Request> request = parts_.source->next();
    if (!request) break;
    scheduler_->add(std::move(*request));
  }
  StepPlan plan = scheduler_->plan(step, static_cast<int>(step % options_.limits.num_lanes));
  for (const PlanRow& row : plan.rows) {
    if (!row.is_decode()) stats_.prompt_tokens += row.num_tokens;
  }
  stats_.num_steps += plan.rows.empty() ? 0 : 1;
  stats_.plan_seconds += monotonic_seconds() - begin;
  return plan;
}

// Without attention DP a leader decides alone. With it, all leaders of the tp group meet before
// each step: the counts fix who takes part with how much, and all stop at the same step.
Engine::Agreement Engine::agree(StepPlan& plan) {
  StepHeader header;
  header.num_tokens = static_cast<std::int32_t>(plan.num_tokens());
  header.has_work = has_work() || !plan.rows.empty() ? 1 : 0;
  header.stop = parts_.stop_requested && parts_.stop_requested() ? 1 : 0;
  const comm::MpiComm& leaders = parts_.groups.headers;
  std::vector<StepHeader> headers(leaders ? static_cast<std::size_t>(leaders.size()) : 1, header);
  if (leaders && leaders.size() > 1) {
    leaders
        .begin_all_gather(std::as_bytes(std::span(&header, 1)),
                          std::as_writable_bytes(std::span(headers)))
        .wait([this] { idle(); });
  }

  Agreement agreement;
  bool has_work_left = false;
  for (const StepHeader& of_rank : headers) {
    agreement.is_stopped = agreement.is_stopped || of_rank.stop != 0;
    has_work_left = has_work_left || of_rank.has_work != 0;
    agreement.has_tokens = agreement.has_tokens || of_rank.num_tokens > 0;
    if (parts_.context.attention_dp) plan.tokens_of_rank.push_back(of_rank.num_tokens);
  }
  agreement.is_stopped = agreement.is_stopped && has_work_left;
  agreement.is_done = agreement.is_stopped || !has_work_left;
  return agreement;
}

// The last plan names the void rows of its own lane; those of the others go before it.
void Engine::send_void_rows(std::int64_t step) {
  for (int lane = 0; lane < options_.limits.num_lanes; ++lane) {
    StepPlan plan;
    plan.step = step;
    plan.lane = lane;
    plan.void_rows = scheduler_->take_void_rows(lane);
    if (plan.void_rows.empty()) continue;
    channel_->send(plan);
    runner_->launch(plan);
  }
}

void Engine::collect(std::int64_t up_to_step) {
  while (!unread_steps_.empty() && unread_steps_.front() <= up_to_step) {
    const int lane = static_cast<int>(unread_steps_.front() % options_.limits.num_lanes);
    unread_steps_.pop_front();
    scheduler_->collect(lane, runner_->read(lane));
  }
}

bool Engine::has_work() const { return scheduler_->has_work() || !parts_.source->exhausted(); }

void Engine::poll() {
  channel_->poll();
  if (parts_.poll) parts_.poll();
}

// Waiting ranks must leave the core to those that compute: they yield at first, then sleep.
void Engine::idle() {
  const double begin = monotonic_seconds();
  poll();
  if (++idle_polls_ < 2000) {
    ::sched_yield();
  } else {
    ::usleep(100);
  }
  stats_.idle_seconds += monotonic_seconds() - begin;
}

EngineStats Engine::stats() const {
  EngineStats stats = stats_;
  stats.forward_seconds = runner_->forward_seconds();
  stats.sample_seconds = runner_->sample_seconds();
  stats.is_on_gpu = parts_.context.ops.is_on_gpu();
  if (scheduler_) {
    stats.num_running = scheduler_->num_running();
    stats.num_waiting = scheduler_->num_waiting();
    stats.output_tokens = scheduler_->num_output_tokens();
    stats.num_preemptions = scheduler_->num_preemptions();
    stats.kv_use = scheduler_->blocks().use();
    stats.reused_tokens = scheduler_->blocks().num_reused_tokens();
  }
  return stats;
}

}  // namespace trireme::engine
