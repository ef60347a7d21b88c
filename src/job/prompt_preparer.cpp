#include "job/prompt_preparer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <string_view>

#include "base/error.h"

namespace trireme::job {
namespace {

std::string render(const io::PromptRow& row, const text::ChatTemplate& chat_template,
                   std::int64_t unix_time) {
  text::ChatOptions options;
  // A message to go on from needs no opening of the next one: the default follows the row.
  options.continue_final_message = row.options.continue_final_message.value_or(false);
  options.add_generation_prompt =
      row.options.add_generation_prompt.value_or(!options.continue_final_message);
  options.tools = row.options.tools;
  options.documents = row.options.documents;
  options.kwargs = row.options.chat_template_kwargs;
  return chat_template.render(row.messages, options, unix_time);
}

std::vector<std::int32_t> encode(const io::PromptRow& row, const text::Tokenizer& tokenizer,
                                 const std::optional<text::ChatTemplate>& chat_template,
                                 const std::string& model_dir, std::int64_t unix_time) {
  switch (row.kind) {
    case io::PromptKind::token_ids:
      return row.token_ids;
    case io::PromptKind::text:
      return tokenizer.encode(row.text, true);
    case io::PromptKind::messages:
      if (!chat_template) {
        fail(ErrorKind::input, cat("messages need a chat template, but ", model_dir,
                                   " has no chat_template.jinja and no chat_template in its "
                                   "tokenizer_config.json"));
      }
      // The template writes the special tokens itself.
      return tokenizer.encode(render(row, *chat_template, unix_time), false);
  }
  return {};
}

}  // namespace

std::optional<io::PromptKind> first_kind(io::PromptReader& reader) {
  constexpr std::int64_t kLookedAtRows = 64;
  switch (reader.source()) {
    case io::PromptSource::strings:
    case io::PromptSource::bytes:
      return io::PromptKind::text;
    case io::PromptSource::messages:
      return io::PromptKind::messages;
    case io::PromptSource::token_ids:
      return io::PromptKind::token_ids;
    case io::PromptSource::requests:
      break;
  }
  for (std::int64_t i = 0; i < std::min(reader.num_rows(), kLookedAtRows); ++i) {
    const io::PromptRow row = reader.read_row(i);
    if (row.error.empty()) return row.kind;
  }
  return {};
}

PreparedPrompt prepare(const io::PromptRow& row, const text::Tokenizer& tokenizer,
                       const std::optional<text::ChatTemplate>& chat_template,
                       const std::string& model_dir, std::int64_t unix_time) {
  PreparedPrompt prepared;
  prepared.error = row.error;
  if (!prepared.error.empty()) return prepared;
  try {
    prepared.token_ids = encode(row, tokenizer, chat_template, model_dir, unix_time);
    if (prepared.token_ids.empty()) prepared.error = "the prompt has no tokens";
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    prepared.error = error.what();
  }
  return prepared;
}

void require_usable_template(io::PromptReader& reader,
                             const std::optional<text::ChatTemplate>& chat_template) {
  const std::string why = chat_template ? chat_template->error() : std::string();
  if (why.empty() || first_kind(reader) != io::PromptKind::messages) return;
  fail(ErrorKind::checkpoint, cat(why, "; expected a chat template that can be read, since ",
                                  reader.path(), " holds messages"));
}

std::int64_t creation_time() {
  const char* given = std::getenv("SOURCE_DATE_EPOCH");
  if (given == nullptr || *given == '\0') return static_cast<std::int64_t>(std::time(nullptr));
  const std::string_view text = given;
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0) {
    fail(ErrorKind::config,
         cat("SOURCE_DATE_EPOCH is \"", text, "\", expected seconds since 1970 as a whole number"));
  }
  return seconds;
}

}  // namespace trireme::job
