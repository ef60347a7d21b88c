#include "io/result_export.h"

#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/file_system.h"
#include "io/utf8.h"

namespace trireme::io {
namespace {

// Tokens are named by their ids: the words need a tokenizer.
std::string token_name(std::int32_t id) { return cat("token_id:", id); }

Json number_or_null(float value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json chat_logprobs(const ResultRow& row) {
  Json content = Json::array();
  for (std::size_t i = 0; i < row.output_ids.size(); ++i) {
    Json top = Json::array();
    for (std::size_t k = 0; k < static_cast<std::size_t>(row.top_k); ++k) {
      const std::size_t at = i * static_cast<std::size_t>(row.top_k) + k;
      top.push_back({{"token", token_name(row.top_logprob_ids[at])},
                     {"logprob", number_or_null(row.top_logprobs[at])},
                     {"bytes", nullptr}});
    }
    content.push_back({{"token", token_name(row.output_ids[i])},
                       {"logprob", number_or_null(row.logprobs[i])},
                       {"bytes", nullptr},
                       {"top_logprobs", std::move(top)}});
  }
  return {{"content", std::move(content)}};
}

Json text_logprobs(const ResultRow& row) {
  Json tokens = Json::array();
  Json values = Json::array();
  Json tops = Json::array();
  for (std::size_t i = 0; i < row.output_ids.size(); ++i) {
    tokens.push_back(token_name(row.output_ids[i]));
    values.push_back(number_or_null(row.logprobs[i]));
    Json top = Json::object();
    for (std::size_t k = 0; k < static_cast<std::size_t>(row.top_k); ++k) {
      const std::size_t at = i * static_cast<std::size_t>(row.top_k) + k;
      top[token_name(row.top_logprob_ids[at])] = number_or_null(row.top_logprobs[at]);
    }
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", row.top_k > 0 ? std::move(tops) : Json(nullptr)}};
}

Json choice_of(const ResultRow& row, const ExportOptions& options) {
  Json choice = {{"index", row.sample}};
  const std::string text = with_valid_utf8(row.text);
  if (options.as_text_completions) {
    choice["text"] = text;
  } else {
    choice["message"] = {{"role", "assistant"}, {"content", text}};
  }
  choice["logprobs"] = nullptr;
  if (row.has_logprobs) {
    choice["logprobs"] = options.as_text_completions ? text_logprobs(row) : chat_logprobs(row);
  }
  if (row.has_prompt_logprobs) {
    Json values = Json::array();  // by prompt token; the first has none
    for (const float value : row.prompt_logprobs) values.push_back(number_or_null(value));
    choice["prompt_logprobs"] = std::move(values);
  }
  choice["finish_reason"] = name_of(row.finish_reason);
  return choice;
}

Json body_of(const std::vector<ResultRow>& samples, const std::string& id, const Json& attributes,
             const ExportOptions& options) {
  Json choices = Json::array();
  std::int64_t completion_tokens = 0;
  for (const ResultRow& row : samples) {
    if (row.status == RowStatus::ok) choices.push_back(choice_of(row, options));
    completion_tokens += row.completion_tokens;
  }
  const std::int64_t prompt_tokens = samples.front().prompt_tokens;
  return {{"id", id},
          {"object", options.as_text_completions ? "text_completion" : "chat.completion"},
          {"model", attributes.value("model", Json(nullptr))},
          {"choices", std::move(choices)},
          {"usage",
           {{"prompt_tokens", prompt_tokens},
            {"completion_tokens", completion_tokens},
            {"total_tokens", prompt_tokens + completion_tokens}}}};
}

Json custom_id_of(const ResultRow& row) {
  if (const auto* number = std::get_if<std::int64_t>(&row.custom_id)) return *number;
  if (const auto* text = std::get_if<std::string>(&row.custom_id)) return with_valid_utf8(*text);
  return std::to_string(row.index);
}

// All samples of one prompt as one line. If none came out well, the line tells the first error.
Json line_of(const std::vector<ResultRow>& samples, const Json& attributes,
             const ExportOptions& options) {
  const ResultRow* failed = nullptr;
  bool has_result = false;
  for (const ResultRow& row : samples) {
    if (row.status == RowStatus::ok) has_result = true;
    if (row.status != RowStatus::ok && failed == nullptr) failed = &row;
  }
  const std::string id = cat("row-", samples.front().index);
  Json line = {{"id", id}, {"custom_id", custom_id_of(samples.front())}};
  line["response"] = nullptr;
  if (has_result) {
    line["response"] = {{"status_code", 200},
                        {"request_id", id},
                        {"body", body_of(samples, id, attributes, options)}};
  }
  line["error"] = nullptr;
  if (failed != nullptr) {
    line["error"] = {{"code", name_of(failed->status)},
                     {"message", with_valid_utf8(failed->error)}};
  }
  return line;
}

}  // namespace

std::int64_t export_jsonl(ResultReader& results, const ExportOptions& options, std::ostream& out) {
  std::vector<ResultRow> samples;
  std::int64_t num_lines = 0;
  const auto flush = [&] {
    if (samples.empty()) return;
    out << line_of(samples, results.attributes(), options).dump() << '\n';
    if (!out) {
      fail(ErrorKind::io,
           system_message(options.output_name, cat("cannot be written behind line ", num_lines)));
    }
    samples.clear();
    ++num_lines;
  };
  for (std::int64_t i = 0; i < results.num_rows(); ++i) {
    ResultRow row = results.read_row(i);
    if (!samples.empty() && samples.front().index != row.index) flush();
    samples.push_back(std::move(row));
  }
  flush();
  return num_lines;
}

}  // namespace trireme::io
