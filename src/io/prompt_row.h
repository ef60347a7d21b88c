#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "io/custom_id.h"

namespace trireme::io {

/// In which form a row gives its prompt.
enum class PromptKind : std::uint8_t {
  text,       ///< plain text, to be encoded with special tokens
  token_ids,  ///< token ids, used as they are
  messages,   ///< a chat, to be rendered with the model's template
};

/// What a row asks for. None = the prompt file says nothing, so the run's own values hold. What is
/// here is in range; the largest place wins: request, then column, then root attribute.
struct RowOptions {
  std::optional<std::int64_t> max_tokens, min_tokens, top_k, n;
  std::optional<std::int64_t>
      logprobs;  ///< -1 off, 0 the chosen token's, k in 1..20 also the top k
  std::optional<double> temperature, top_p, min_p;
  std::optional<double> presence_penalty, frequency_penalty, repetition_penalty;
  std::optional<std::uint64_t> seed;
  std::optional<bool> ignore_eos, prompt_logprobs;
  std::optional<std::vector<std::string>> stop;
  std::optional<std::vector<std::int32_t>> stop_token_ids;
  std::optional<std::vector<std::pair<std::int32_t, float>>> logit_bias;  ///< token id, added value

  std::optional<bool> add_generation_prompt, continue_final_message;
  Json tools = nullptr;                 ///< an array, or null: not given
  Json documents = nullptr;             ///< an array, or null: not given
  Json chat_template_kwargs = nullptr;  ///< an object, or null: not given
};

/// One row of a prompt file. A row that is bad has `error` and its `custom_id`; the rest is then
/// not to be used.
struct PromptRow {
  std::int64_t index = 0;  ///< number of the row in the file
  CustomId custom_id;
  std::string domain;  ///< empty: none given
  std::string error;   ///< empty: the row is good

  PromptKind kind = PromptKind::text;
  std::string text;                     ///< kind text; valid UTF-8
  std::vector<std::int32_t> token_ids;  ///< kind token_ids; each >= 0
  Json messages = nullptr;              ///< kind messages; an array of objects, at least one
  RowOptions options;
};

}  // namespace trireme::io
