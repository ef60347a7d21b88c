#include "engine/sequence.h"

#include <algorithm>
#include <limits>

#include "base/clock.h"

namespace trireme::engine {

Sequence::Sequence(std::shared_ptr<const Request> request, std::int32_t sample,
                   const TextRules& rules)
    : request_(std::move(request)), rules_(rules), tokens_(request_->prompt_tokens) {
  completion_.request = request_;
  completion_.sample = sample;
  if (rules.tokenizer != nullptr) stream_.emplace(*rules.tokenizer);
  if (params().prompt_logprobs && !tokens_.empty()) {
    completion_.prompt_logprobs.push_back(std::numeric_limits<float>::quiet_NaN());
  }
}

bool Sequence::reaches_limit() const {
  return num_generated() + num_pending >= params().max_tokens || num_total() >= rules_.max_seq_len;
}

void Sequence::accept(std::int32_t token, float logprob, const std::int32_t* top_ids,
                      const float* top_logprobs) {
  if (completion_.output_tokens.empty()) completion_.first_token_s = monotonic_seconds();
  if (token < 0) {
    fail("the model gave no finite logit for the next token; its weights or its dtype overflow");
    return;
  }
  tokens_.push_back(token);
  completion_.output_tokens.push_back(token);
  if (params().logprobs >= 0) completion_.logprobs.push_back(logprob);
  completion_.top_ids.insert(completion_.top_ids.end(), top_ids,
                             top_ids + std::max(params().logprobs, 0));
  completion_.top_logprobs.insert(completion_.top_logprobs.end(), top_logprobs,
                                  top_logprobs + std::max(params().logprobs, 0));

  const auto holds = [token](const std::vector<std::int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  const bool ends_by_token =
      (!params().ignore_eos && holds(rules_.eos_token_ids)) || holds(params().stop_token_ids);
  if (ends_by_token) {
    finish(FinishReason::stop);
    return;
  }
  if (stream_) {
    const std::size_t old_size = completion_.text.size();
    completion_.text += stream_->push(token);
    if (ends_by_stop_string(old_size)) {
      stream_.reset();
      finish(FinishReason::stop);
      return;
    }
  }
  if (num_generated() >= params().max_tokens || std::ssize(tokens_) >= rules_.max_seq_len) {
    finish(FinishReason::length);
  }
}

bool Sequence::ends_by_stop_string(std::size_t old_text_size) {
  if (num_generated() < params().min_tokens) return false;
  std::size_t earliest = std::string::npos;
  for (const std::string& stop : params().stop) {
    const std::size_t from = old_text_size > stop.size() ? old_text_size - stop.size() : 0;
    earliest = std::min(earliest, completion_.text.find(stop, from));
  }
  if (earliest == std::string::npos) return false;
  completion_.text.resize(earliest);
  return true;
}

void Sequence::accept_scores(const float* logprobs, std::int64_t count) {
  completion_.prompt_logprobs.insert(completion_.prompt_logprobs.end(), logprobs, logprobs + count);
}

void Sequence::finish(FinishReason reason) {
  if (stream_) {
    // Bytes held back may complete a stop string too.
    const std::size_t old_size = completion_.text.size();
    completion_.text += stream_->finish();
    const bool ends_here = ends_by_stop_string(old_size);
    if (ends_here && reason == FinishReason::length) reason = FinishReason::stop;
  }
  stream_.reset();
  completion_.finish_reason = reason;
  completion_.done_s = monotonic_seconds();
  state = State::finished;
}

void Sequence::fail(std::string message) {
  completion_.error = std::move(message);
  finish(FinishReason::error);
}

}  // namespace trireme::engine
