#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/block_pool.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace trireme::engine {

/// What the engine needs to know of the model to see a sequence's end and to speak its text.
struct TextRules {
  const text::Tokenizer* tokenizer =
      nullptr;  ///< null: results have no text, stop strings are refused
  std::vector<std::int32_t> eos_token_ids;
  std::int64_t max_seq_len = 0;
};

/// One sample of one prompt on its way, owned by the leader.
class Sequence {
 public:
  enum class State : std::uint8_t { waiting, running, finished };

  Sequence(std::shared_ptr<const Request> request, std::int32_t sample, const TextRules& rules);

  const Request& request() const { return *request_; }
  const SamplingParams& params() const { return request_->params; }
  std::int32_t sample() const { return completion_.sample; }
  std::int64_t num_prompt() const { return std::ssize(request_->prompt_tokens); }
  std::int64_t num_generated() const { return std::ssize(tokens_) - num_prompt(); }
  /// Prompt and generated tokens that the host knows.
  const std::vector<std::int32_t>& tokens() const { return tokens_; }
  /// Known tokens and those that are sampled but not read yet.
  std::int64_t num_total() const { return std::ssize(tokens_) + num_pending; }
  /// Whether the tokens planned so far reach max_tokens or max_seq_len: nothing more to plan.
  bool reaches_limit() const;

  /// Takes a drawn token; finishes the sequence if it ends here.
  void accept(std::int32_t token, float logprob, const std::int32_t* top_ids,
              const float* top_logprobs);
  void accept_scores(const float* logprobs, std::int64_t count);
  bool has_all_scores() const { return std::ssize(completion_.prompt_logprobs) == num_prompt(); }
  void finish(FinishReason reason);
  void fail(std::string message);

  /// The result of a finished sequence; once.
  Completion take_completion() { return std::move(completion_); }

  // The scheduler's book-keeping.
  State state = State::waiting;
  int lane = -1;
  std::int32_t slot = -1;
  std::int64_t admission = 0;          ///< running number of its last admission
  std::int64_t num_computed = 0;       ///< positions with KV, by the plans made so far
  std::int64_t num_computed_ever = 0;  ///< the same, before preemptions
  bool was_prefilled = false;          ///< an earlier plan has computed the whole prompt
  std::int64_t num_scores_planned = 0;
  std::int32_t num_pending = 0;  ///< tokens drawn by a planned step and not read yet
  bool slot_has_last_token = false;
  std::vector<std::vector<std::int32_t>> block_tables;  ///< by layer group; -1 = freed
  std::vector<BlockHash> hashes;                        ///< of the full blocks of known tokens
  std::int64_t num_blocks_registered = 0;
  std::weak_ptr<Sequence> waits_for;  ///< n > 1: the first sample, until it is prefilled

 private:
  bool ends_by_stop_string(std::size_t old_text_size);

  std::shared_ptr<const Request> request_;
  const TextRules& rules_;
  std::vector<std::int32_t> tokens_;
  Completion completion_;
  std::optional<text::TextStream> stream_;
};

}  // namespace trireme::engine
