#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::engine {
namespace {

constexpr double kKeepFreeShare =
    0.01;  // blocks left free at admission, for the decodes of the others

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, BlockManager blocks, TextRules rules,
                     std::function<void(Completion)> on_finished)
    : limits_(limits),
      blocks_(std::move(blocks)),
      rules_(std::move(rules)),
      on_finished_(std::move(on_finished)),
      lanes_(static_cast<std::size_t>(limits.num_lanes)) {
  const auto num_slots = static_cast<std::int32_t>(limits.num_lanes * limits.max_batch_size);
  for (std::int32_t slot = num_slots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

std::string Scheduler::refusal(const Request& request) const {
  if (!request.error.empty()) return request.error;
  const auto length = std::ssize(request.prompt_tokens);
  if (length == 0) return "the prompt has no tokens";
  const std::int64_t room = rules_.max_seq_len - (request.params.max_tokens > 0 ? 1 : 0);
  if (length > room) {
    return cat("the prompt has ", length, " tokens, but max_seq_len is ", rules_.max_seq_len,
               request.params.max_tokens > 0 ? " and must hold one more" : "");
  }
  const auto end = std::min(rules_.max_seq_len, length + request.params.max_tokens);
  if (!blocks_.can_ever_hold(end, limits_.max_num_tokens)) {
    return cat("prompt and output of ", end,
               " tokens do not fit the KV memory; raise kv_cache_config.host_memory_bytes or lower "
               "max_tokens");
  }
  if (rules_.tokenizer == nullptr && !request.params.stop.empty()) {
    return "stop strings need the model's tokenizer.json, which is not there";
  }
  return {};
}

void Scheduler::add(Request request) {
  const std::string error = refusal(request);
  const auto shared = std::make_shared<const Request>(std::move(request));
  const bool shares_prefill =
      !shared->params.prompt_logprobs && blocks_.may_reuse(std::ssize(shared->prompt_tokens));
  SequencePtr first;
  for (std::int32_t sample = 0; sample < shared->num_samples; ++sample) {
    auto sequence = std::make_shared<Sequence>(shared, sample, rules_);
    const bool scores = shared->params.prompt_logprobs && sequence->num_prompt() > 1;
    if (!error.empty()) {
      sequence->fail(error);
    } else if (shared->params.max_tokens == 0 && !scores) {
      sequence->finish(FinishReason::length);
    }
    if (sequence->state == Sequence::State::finished) {
      on_finished_(sequence->take_completion());
      continue;
    }
    if (first && shares_prefill) sequence->waits_for = first;
    if (!first) first = sequence;
    waiting_.push_back(std::move(sequence));
  }
}

StepPlan Scheduler::plan(std::int64_t step, int lane) {
  Lane& of_lane = lanes_[static_cast<std::size_t>(lane)];
  TRIREME_CHECK(of_lane.unread.size() <= 1, "lane=", lane, " unread steps=", of_lane.unread.size());
  for (const SequencePtr& sequence : running_) {
    blocks_.register_full_blocks(*sequence);
    sequence->was_prefilled |= sequence->num_computed >= sequence->num_prompt();
  }

  Draft draft;
  draft.plan.step = step;
  draft.plan.lane = lane;
  draft.tokens_left = limits_.max_num_tokens;
  draft.rows_left = limits_.max_batch_size;
  plan_decodes(draft);
  plan_prefills(draft);
  admit(draft);
  if (draft.plan.rows.empty() && num_unread_ == 0 && running_.size() > 1) {
    // Half-prefilled sequences hold each other's blocks: the newest gives its own back.
    preempt(running_.back());
    plan_prefills(draft);
  }

  draft.plan.void_rows = take_void_rows(lane);
  if (!draft.plan.rows.empty()) {
    draft.plan.freed_slots = std::exchange(freed_slots_, {});
    of_lane.unread.push_back({std::move(draft.sequences), draft.plan.rows});
    ++num_unread_;
  }
  return std::move(draft.plan);
}

std::vector<std::int32_t> Scheduler::take_void_rows(int lane) {
  return std::exchange(lanes_[static_cast<std::size_t>(lane)].void_rows, {});
}

bool Scheduler::is_decode_ready(const Sequence& sequence) const {
  return sequence.slot_has_last_token && sequence.num_computed == sequence.num_total() - 1 &&
         !sequence.reaches_limit();
}

void Scheduler::plan_decodes(Draft& draft) {
  // By index: a preemption shortens the list behind the sequence being planned, or removes it
  // itself.
  for (std::size_t i = 0; i < running_.size() && draft.rows_left > 0 && draft.tokens_left > 0;) {
    const SequencePtr sequence = running_[i];
    if (sequence->lane != draft.plan.lane || !is_decode_ready(*sequence)) {
      ++i;
      continue;
    }
    if (!blocks_.extend(*sequence, sequence->num_computed + 1, draft.plan.blocks)) {
      preempt(running_.back());
      continue;
    }
    add_row(draft, sequence,
            {.slot = sequence->slot,
             .flags = PlanRow::kDecode | PlanRow::kSamples,
             .first_position = static_cast<std::int32_t>(sequence->num_computed),
             .num_tokens = 1});
    ++i;
  }
}

void Scheduler::plan_prefills(Draft& draft) {
  for (const SequencePtr& sequence : running_) {
    if (draft.rows_left == 0 || draft.tokens_left == 0) return;
    const bool has_chunk =
        sequence->num_pending == 0 && sequence->num_computed < std::ssize(sequence->tokens());
    if (sequence->lane == draft.plan.lane && has_chunk && !is_decode_ready(*sequence)) {
      add_chunk(draft, sequence);
    }
  }
}

bool Scheduler::add_chunk(Draft& draft, const SequencePtr& sequence) {
  const std::int64_t begin = sequence->num_computed;
  const auto num_known = std::ssize(sequence->tokens());
  if (!limits_.enable_chunked_prefill && num_known - begin > draft.tokens_left) return false;
  const std::int64_t end = std::min<std::int64_t>(num_known, begin + draft.tokens_left);
  if (!blocks_.extend(*sequence, end, draft.plan.blocks)) return false;

  PlanRow row{.slot = sequence->slot,
              .flags = 0,
              .first_position = static_cast<std::int32_t>(begin),
              .num_tokens = static_cast<std::int32_t>(end - begin)};
  if (end == num_known && !sequence->reaches_limit()) row.flags = PlanRow::kSamples;
  row.num_recomputed = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(sequence->num_computed_ever - begin, 0, end - begin));
  if (sequence->params().prompt_logprobs) {
    const auto score_from = std::max(begin, sequence->num_scores_planned);
    const auto score_to = std::min(end, sequence->num_prompt() - 1);
    if (score_from < score_to) {
      row.score_begin = static_cast<std::int32_t>(score_from - begin);
      row.score_end = static_cast<std::int32_t>(score_to - begin);
      sequence->num_scores_planned = score_to;
    }
  }
  const auto* ids = sequence->tokens().data() + begin;
  draft.plan.token_ids.insert(draft.plan.token_ids.end(), ids, ids + row.num_ids());
  add_row(draft, sequence, row);
  return true;
}

void Scheduler::add_row(Draft& draft, const SequencePtr& sequence, PlanRow row) {
  sequence->num_computed += row.num_tokens;
  sequence->num_computed_ever = std::max(sequence->num_computed_ever, sequence->num_computed);
  if (row.samples()) {
    ++sequence->num_pending;
    sequence->slot_has_last_token = true;
  }
  draft.tokens_left -= row.num_tokens;
  --draft.rows_left;
  draft.plan.rows.push_back(row);
  draft.sequences.push_back(sequence);
}

std::int64_t Scheduler::lane_share() const {
  // Lanes fill evenly, so that every stage has work while the others compute.
  const auto all = std::ssize(running_) + std::ssize(waiting_);
  return std::min<std::int64_t>(limits_.max_batch_size,
                                (all + limits_.num_lanes - 1) / limits_.num_lanes);
}

void Scheduler::admit(Draft& draft) {
  const Lane& lane = lanes_[static_cast<std::size_t>(draft.plan.lane)];
  const std::int64_t share = lane_share();
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const SequencePtr sequence = *at;
    if (draft.rows_left == 0 || draft.tokens_left == 0 || free_slots_.empty() ||
        lane.num_running >= share) {
      return;
    }
    if (sequence->num_pending > 0) return;  // preempted, and its last token is still to be read
    const SequencePtr first = sequence->waits_for.lock();
    if (first && first->state != Sequence::State::finished && !first->was_prefilled) {
      ++at;
      continue;
    }
    if (!try_admit(draft, sequence)) return;
    at = waiting_.erase(at);
  }
}

bool Scheduler::try_admit(Draft& draft, const SequencePtr& sequence) {
  if (!limits_.enable_chunked_prefill && std::ssize(sequence->tokens()) > draft.tokens_left) {
    return false;
  }
  sequence->slot = free_slots_.back();
  const double keep_free = running_.empty() ? 0.0 : kKeepFreeShare;
  if (!blocks_.admit(*sequence, draft.tokens_left, keep_free, draft.plan.blocks)) {
    sequence->slot = -1;
    return false;
  }
  free_slots_.pop_back();
  sequence->state = Sequence::State::running;
  sequence->lane = draft.plan.lane;
  sequence->admission = num_admissions_++;
  sequence->slot_has_last_token = false;
  ++lanes_[static_cast<std::size_t>(sequence->lane)].num_running;
  running_.push_back(sequence);
  draft.plan.admitted.push_back(admitted_slot(*sequence));
  const bool has_room = add_chunk(draft, sequence);
  TRIREME_CHECK(has_room, "slot=", sequence->slot);  // admit() saw to it
  return true;
}

AdmittedSlot Scheduler::admitted_slot(const Sequence& sequence) const {
  AdmittedSlot slot;
  slot.slot = sequence.slot;
  slot.index = sequence.request().index;
  slot.sample = sequence.sample();
  slot.prompt_length = static_cast<std::int32_t>(sequence.num_prompt());
  slot.num_generated = static_cast<std::int32_t>(sequence.num_generated());
  slot.domain = sequence.request().domain;
  slot.params = sequence.params();
  slot.params.stop.clear();
  if (sequence.params().min_tokens > 0) {
    slot.banned = sequence.params().stop_token_ids;
    if (!sequence.params().ignore_eos) {
      slot.banned.insert(slot.banned.end(), rules_.eos_token_ids.begin(),
                         rules_.eos_token_ids.end());
    }
  }
  if (sequence.params().has_penalty()) slot.tokens = sequence.tokens();
  return slot;
}

void Scheduler::collect(int lane, std::span<const RowResult> results) {
  Lane& of_lane = lanes_[static_cast<std::size_t>(lane)];
  TRIREME_CHECK(!of_lane.unread.empty(), "lane=", lane);
  const UnreadStep step = std::move(of_lane.unread.front());
  of_lane.unread.pop_front();
  --num_unread_;
  TRIREME_CHECK(results.size() == step.rows.size(), "results=", results.size(),
                " rows=", step.rows.size());
  for (std::size_t i = 0; i < step.rows.size(); ++i) {
    const SequencePtr& sequence = step.sequences[i];
    const RowResult& result = results[i];
    if (sequence->state == Sequence::State::finished) continue;  // a void row
    if (step.rows[i].num_scores() > 0) {
      sequence->accept_scores(result.scores.data(), std::ssize(result.scores));
    }
    if (step.rows[i].samples()) {
      --sequence->num_pending;
      ++num_output_tokens_;
      sequence->accept(result.token, result.logprob, result.top_ids.data(),
                       result.top_logprobs.data());
    } else if (sequence->params().max_tokens == 0 && sequence->has_all_scores()) {
      sequence->finish(FinishReason::length);
    }
    if (sequence->state == Sequence::State::finished) finish(sequence);
  }
}

void Scheduler::finish(const SequencePtr& sequence) {
  if (sequence->slot >= 0) {
    // A step planned ahead may hold one more row of it, which then counts for nothing.
    Lane& lane = lanes_[static_cast<std::size_t>(sequence->lane)];
    if (!lane.unread.empty()) {
      const auto& sequences = lane.unread.back().sequences;
      const auto found = std::find(sequences.begin(), sequences.end(), sequence);
      if (found != sequences.end()) {
        lane.void_rows.push_back(static_cast<std::int32_t>(found - sequences.begin()));
      }
    }
    running_.erase(std::find(running_.begin(), running_.end(), sequence));
    leave_slot(*sequence);
  } else {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), sequence));
  }
  on_finished_(sequence->take_completion());
}

void Scheduler::preempt(const SequencePtr& sequence_in_list) {
  const SequencePtr sequence = sequence_in_list;
  running_.erase(std::find(running_.begin(), running_.end(), sequence));
  leave_slot(*sequence);
  sequence->state = Sequence::State::waiting;
  waiting_.push_front(sequence);
  ++num_preemptions_;
}

void Scheduler::leave_slot(Sequence& sequence) {
  blocks_.release(sequence);
  --lanes_[static_cast<std::size_t>(sequence.lane)].num_running;
  freed_slots_.push_back(sequence.slot);
  free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
  sequence.num_computed = 0;
  sequence.slot_has_last_token = false;
}

}  // namespace trireme::engine
