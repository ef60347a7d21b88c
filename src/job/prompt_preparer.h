#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/prompt_reader.h"
#include "io/prompt_row.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trireme::job {

/// The token ids of a row, or why it has none.
struct PreparedPrompt {
  std::vector<std::int32_t> token_ids;
  std::string error;  ///< empty: the row is good
};

/// Makes token ids of a row: ids as they are; a text encoded with special tokens; messages rendered
/// with the chat template and encoded without adding special tokens. What is wrong with the row
/// alone is in `error`, a row without tokens included. `model_dir` is only named in messages;
/// `unix_time` is what strftime_now tells. Safe to call from several threads.
PreparedPrompt prepare(const io::PromptRow& row, const text::Tokenizer& tokenizer,
                       const std::optional<text::ChatTemplate>& chat_template,
                       const std::string& model_dir, std::int64_t unix_time);

/// What the prompts of a file are. Requests may differ: the first good one of the first few speaks
/// for them; none if there is no such.
std::optional<io::PromptKind> first_kind(io::PromptReader& reader);

/// Throws Error(checkpoint), with file and line, if the rows hold messages and the model's template
/// cannot render any.
void require_usable_template(io::PromptReader& reader,
                             const std::optional<text::ChatTemplate>& chat_template);

/// The creation time of this run, in seconds since 1970: SOURCE_DATE_EPOCH if that is set, else
/// now. Throws Error(config) if the variable holds no number.
std::int64_t creation_time();

}  // namespace trireme::job
