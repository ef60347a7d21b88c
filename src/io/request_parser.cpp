#include "io/request_parser.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "io/row_options.h"

namespace trireme::io {
namespace {

// Fields that change nothing in what is generated here, whatever they say.
constexpr std::array<std::string_view, 5> kIgnored = {"model", "user", "metadata", "stream",
                                                      "stream_options"};

constexpr std::array<std::string_view, 3> kPrompts = {"messages", "prompt", "input"};

// Fields that are not supported, with the one value, beside null, that asks for nothing.
bool is_neutral(std::string_view name, const Json& value) {
  if (value.is_null()) return true;
  if (name == "echo" || name == "store" || name == "use_beam_search") {
    return value == false;
  }
  if (name == "best_of") return value == 1;
  if (name == "suffix") return value == "";
  if (name == "response_format") return value == Json{{"type", "text"}};
  if (name == "tool_choice") return value == "auto";
  if (name == "parallel_tool_calls" || name == "skip_special_tokens") return value == true;
  if (name == "service_tier") return value == "auto" || value == "default";
  return false;
}

bool is_option(std::string_view name) {
  const auto fields = option_fields();
  return std::any_of(fields.begin(), fields.end(),
                     [&](const OptionField& field) { return name == field.name; });
}

std::string take_ids(const Json& value, PromptRow& row) {
  for (const Json& item : value) {
    if (!item.is_number_unsigned() ||
        item.get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max()) {
      return cat(shown(item), " is one of its token ids, expected an integer from 0 to 2147483647");
    }
    row.token_ids.push_back(item.get<std::int32_t>());
  }
  row.kind = PromptKind::token_ids;
  return {};
}

std::string take_messages(const Json& value, PromptRow& row) {
  row.kind = PromptKind::messages;
  row.messages = value;
  return check_messages(value);
}

// `prompt` or `input`: a text, token ids, a list of one of these; `input` may be messages as well.
std::string take_prompt(std::string_view name, const Json& value, PromptRow& row) {
  const Json* prompt = &value;
  if (value.is_array() && value.size() == 1 && (value[0].is_string() || value[0].is_array())) {
    prompt = &value[0];
  }
  if (prompt->is_string()) {
    row.kind = PromptKind::text;
    row.text = prompt->get<std::string>();
    return {};
  }
  const bool is_list = prompt->is_array() && !prompt->empty();
  if (is_list && (*prompt)[0].is_number()) {
    const std::string wrong = take_ids(*prompt, row);
    return wrong.empty() ? wrong : cat(name, ": ", wrong);
  }
  if (is_list && name == "input" && (*prompt)[0].is_object()) return take_messages(*prompt, row);
  return cat(name, ": ", shown(value), ", expected one string or one list of token ids");
}

std::string take_prompt_fields(const Json& request, PromptRow& row) {
  std::string_view found;
  for (const std::string_view name : kPrompts) {
    if (!request.contains(name) || request[name].is_null()) continue;
    if (!found.empty()) return cat("has both ", found, " and ", name, ", expected one of them");
    found = name;
  }
  if (found.empty()) return "has none of messages, prompt, input";
  if (found == "messages") return take_messages(request[found], row);
  return take_prompt(found, request[found], row);
}

// max_tokens under both its names.
std::string take_max_tokens(const Json& request, RowOptions& options) {
  const Json newer = request.value("max_completion_tokens", Json(nullptr));
  const Json older = request.value("max_tokens", Json(nullptr));
  if (!newer.is_null() && !older.is_null() && newer != older) {
    return cat("max_completion_tokens is ", shown(newer), " and max_tokens is ", shown(older),
               ", expected one of them");
  }
  const Json& value = newer.is_null() ? older : newer;
  if (value.is_null()) return {};
  const std::string wrong = set_option(options, "max_tokens", value);
  if (wrong.empty()) return {};
  return cat(newer.is_null() ? "max_tokens" : "max_completion_tokens", ": ", wrong);
}

// Chat requests say logprobs: true and top_logprobs: k, others logprobs: k.
std::string take_logprobs(const Json& request, RowOptions& options) {
  const Json logprobs = request.value("logprobs", Json(nullptr));
  const Json top = request.value("top_logprobs", Json(nullptr));
  if (!logprobs.is_null()) {
    const std::string wrong = set_option(options, "logprobs", logprobs);
    if (!wrong.empty()) return cat("logprobs: ", wrong);
  }
  if (top.is_null() || top == 0) return {};
  if (logprobs != true) {
    return cat("top_logprobs is ", shown(top), ", which needs logprobs: true; logprobs is ",
               shown(logprobs));
  }
  if (top.is_boolean() || top == -1) return cat("top_logprobs: ", shown(top), ", expected 0 to 20");
  const std::string wrong = set_option(options, "logprobs", top);
  return wrong.empty() ? wrong : cat("top_logprobs: ", wrong);
}

}  // namespace

std::string parse_request_options(const Json& request, RowOptions& options) {
  if (!request.is_object()) return cat("is ", shown(request), ", expected an object");
  constexpr std::array<std::string_view, 4> kTakenTogether = {"max_tokens", "max_completion_tokens",
                                                              "logprobs", "top_logprobs"};
  const auto is_in = [](const auto& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const auto& [name, value] : request.items()) {
    if (is_in(kIgnored, name) || is_in(kPrompts, name) || is_in(kTakenTogether, name)) continue;
    if (!is_option(name)) {
      if (is_neutral(name, value)) continue;
      return cat("field ", name, " with value ", shown(value), " is not supported");
    }
    if (value.is_null()) continue;
    const std::string wrong = set_option(options, name, value);
    if (!wrong.empty()) return cat(name, ": ", wrong);
  }
  const std::string wrong = take_max_tokens(request, options);
  return wrong.empty() ? take_logprobs(request, options) : wrong;
}

std::string parse_request(const Json& request, PromptRow& row) {
  const std::string wrong = parse_request_options(request, row.options);
  return wrong.empty() ? take_prompt_fields(request, row) : wrong;
}

}  // namespace trireme::io
