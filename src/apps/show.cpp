#include "apps/show.h"

#include <algorithm>
#include <ostream>
#include <string>

#include "base/error.h"
#include "io/row_options.h"
#include "io/utf8.h"

namespace trireme::apps {
namespace {

constexpr std::size_t kLineCharacters = 72;
constexpr std::size_t kShownIds = 64;

// A text on one line of a terminal: no control characters, cut at a character.
std::string one_line(const std::string& text, std::size_t longest) {
  std::string line;
  std::size_t characters = 0;
  for (const char byte : io::with_valid_utf8(text.substr(0, 4 * longest + 4))) {
    const auto value = static_cast<unsigned char>(byte);
    if ((value & 0xc0) != 0x80 && ++characters > longest) return line + "...";
    if (byte == '\n') {
      line += "\\n";
    } else if (value < 0x20 || value == 0x7f) {
      line += '?';
    } else {
      line += byte;
    }
  }
  return line;
}

// A whole text: line ends and tabs stay, other control characters do not reach the terminal.
std::string whole(const std::string& text) {
  std::string safe = io::with_valid_utf8(text);
  std::replace_if(
      safe.begin(), safe.end(),
      [](char byte) {
        const auto value = static_cast<unsigned char>(byte);
        return (value < 0x20 && byte != '\n' && byte != '\t') || value == 0x7f;
      },
      '?');
  return safe;
}

std::string ids_text(const std::vector<std::int32_t>& ids, std::size_t longest) {
  std::string text;
  for (std::size_t i = 0; i < std::min(ids.size(), longest); ++i) {
    text += cat(i == 0 ? "" : " ", ids[i]);
  }
  return ids.size() > longest ? cat(text, " ... (", ids.size(), " in all)") : text;
}

void show_values(const char* name, const std::vector<float>& values, std::ostream& out) {
  out << name << ":";
  for (std::size_t i = 0; i < std::min(values.size(), kShownIds); ++i) out << " " << values[i];
  if (values.size() > kShownIds) out << " ... (" << values.size() << " in all)";
  out << "\n";
}

std::string prompt_text(const io::PromptRow& row) {
  switch (row.kind) {
    case io::PromptKind::text:
      return row.text;
    case io::PromptKind::token_ids:
      return "ids " + ids_text(row.token_ids, kShownIds);
    case io::PromptKind::messages:
      return row.messages.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return {};
}

std::string id_text(const io::CustomId& id) {
  const std::string text = io::to_text(id);
  return text.empty() ? "" : cat(" [", one_line(text, 40), "]");
}

Json template_options(const io::RowOptions& options) {
  Json json = Json::object();
  if (options.add_generation_prompt) json["add_generation_prompt"] = *options.add_generation_prompt;
  if (options.continue_final_message)
    json["continue_final_message"] = *options.continue_final_message;
  if (!options.tools.is_null()) json["tools"] = options.tools;
  if (!options.documents.is_null()) json["documents"] = options.documents;
  if (!options.chat_template_kwargs.is_null())
    json["chat_template_kwargs"] = options.chat_template_kwargs;
  return json;
}

void show_options(const io::RowOptions& options, const std::string& before, std::ostream& out) {
  for (const Json& json : {io::sampling_as_json(options), template_options(options)}) {
    for (const auto& [name, value] : json.items()) {
      out << before << name << ": " << one_line(io::shown(value), 200) << "\n";
    }
  }
}

const char* source_text(io::PromptSource source) {
  switch (source) {
    case io::PromptSource::strings:
    case io::PromptSource::bytes:
      return "texts (/prompt)";
    case io::PromptSource::messages:
      return "chats (/messages)";
    case io::PromptSource::requests:
      return "requests (/request)";
    case io::PromptSource::token_ids:
      return "token ids (/input_ids)";
  }
  return "";
}

}  // namespace

void show_prompts(io::PromptReader& reader, std::int64_t num_rows, std::ostream& out) {
  out << reader.path() << ": " << reader.num_rows() << " prompts, " << source_text(reader.source())
      << "\n";
  std::string columns;
  for (const std::string& name : reader.columns()) columns += " " + name;
  out << "columns:" << (columns.empty() ? " none" : columns) << "\n";
  show_options(reader.defaults(), "for all rows: ", out);
  out << "\n";
  for (std::int64_t i = 0; i < std::min(num_rows, reader.num_rows()); ++i) {
    const io::PromptRow row = reader.read_row(i);
    out << i << id_text(row.custom_id) << " "
        << (row.error.empty() ? one_line(prompt_text(row), kLineCharacters)
                              : "error: " + one_line(row.error, kLineCharacters))
        << "\n";
  }
}

void show_prompt(const io::PromptRow& row, std::ostream& out) {
  out << "row: " << row.index << "\n";
  const std::string id = io::to_text(row.custom_id);
  if (!id.empty()) out << "custom_id: " << one_line(id, 200) << "\n";
  if (!row.domain.empty()) out << "domain: " << one_line(row.domain, 200) << "\n";
  if (!row.error.empty()) {
    out << "error: " << whole(row.error) << "\n";
    return;
  }
  show_options(row.options, "", out);
  out << "prompt:\n" << whole(prompt_text(row)) << "\n";
}

void show_results(io::ResultReader& reader, std::int64_t num_rows, std::ostream& out) {
  out << reader.num_rows() << " rows\n";
  for (const auto& [name, value] : reader.attributes().items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    out << name << ": " << one_line(text, 200) << "\n";
  }
  out << "\n";
  for (std::int64_t i = 0; i < std::min(num_rows, reader.num_rows()); ++i) {
    const io::ResultRow row = reader.read_row(i);
    out << row.index << "." << row.sample << id_text(row.custom_id) << " "
        << name_of(row.finish_reason) << " " << row.prompt_tokens << "+" << row.completion_tokens
        << " " << one_line(row.status == io::RowStatus::ok ? row.text : row.error, kLineCharacters)
        << "\n";
  }
}

void show_result(const io::ResultRow& row, std::ostream& out) {
  out << "index: " << row.index << "\nsample: " << row.sample << "\n";
  const std::string id = io::to_text(row.custom_id);
  if (!id.empty()) out << "custom_id: " << one_line(id, 200) << "\n";
  out << "status: " << name_of(row.status) << "\nfinish_reason: " << name_of(row.finish_reason)
      << "\n";
  if (!row.error.empty()) out << "error: " << whole(row.error) << "\n";
  out << "prompt_tokens: " << row.prompt_tokens << "\ncompletion_tokens: " << row.completion_tokens
      << "\nseed: " << row.seed << "\nrank: " << row.rank << "\ntime: queued " << row.time_queued
      << " s, first token " << row.time_first_token << " s, done " << row.time_done << " s\n"
      << "output_ids: " << ids_text(row.output_ids, kShownIds) << "\n";
  if (row.has_logprobs) show_values("logprobs", row.logprobs, out);
  if (row.top_k > 0) {
    show_values("top_logprobs", row.top_logprobs, out);
    out << "top_logprob_ids: " << ids_text(row.top_logprob_ids, kShownIds) << "\n";
  }
  if (row.has_prompt_logprobs) show_values("prompt_logprobs", row.prompt_logprobs, out);
  out << "text:\n" << whole(row.text) << "\n";
}

}  // namespace trireme::apps
