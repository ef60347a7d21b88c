#include "text/chat_messages.h"

#include <array>
#include <limits>

#include "base/error.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

using jinja::Context;
using jinja::Dict;
using jinja::Value;

// What transformers uses; a text that holds it cannot be continued rightly by either.
constexpr std::string_view kTag = "CONTINUE_FINAL_MESSAGE_TAG";

constexpr std::array<std::string_view, 3> kReasoningKeys = {"reasoning_content", "thinking",
                                                            "reasoning"};

class Converter {
 public:
  Converter(Context& context, const std::string& what) : context_(context), what_(what) {}

  Value convert(const Json& json, int depth) {
    if (depth > jinja::kMaxNesting) {
      fail(ErrorKind::input, cat(what_, ": nested deeper than ", jinja::kMaxNesting, " levels"));
    }
    context_.budget.spend(1);
    switch (json.type()) {
      case Json::value_t::null:
        return Value::none();
      case Json::value_t::boolean:
        return Value::boolean(json.get<bool>());
      case Json::value_t::number_integer:
        return Value::integer(json.get<std::int64_t>());
      case Json::value_t::number_unsigned:
        return unsigned_integer(json.get<std::uint64_t>());
      case Json::value_t::number_float:
        return Value::real(json.get<double>());
      case Json::value_t::string:
        return string(json.get_ref<const std::string&>());
      case Json::value_t::array:
        return list(json, depth);
      case Json::value_t::object:
        return dict(json, depth);
      default:
        fail(ErrorKind::input, cat(what_, ": not JSON"));
    }
  }

  Value string(const std::string& text) {
    if (const auto offset = invalid_utf8_offset(text)) {
      fail(ErrorKind::input, cat(what_, ": a text is not UTF-8 (its byte ", *offset, ")"));
    }
    return make_string(context_.budget, text);
  }

 private:
  Value unsigned_integer(std::uint64_t number) {
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(ErrorKind::input, cat(what_, ": the integer ", number, " is beyond 64 bits"));
    }
    return Value::integer(static_cast<std::int64_t>(number));
  }

  Value list(const Json& json, int depth) {
    std::vector<Value> items;
    context_.budget.require(json.size(), sizeof(Value));
    items.reserve(json.size());
    for (const Json& item : json) items.push_back(convert(item, depth + 1));
    return make_list(context_.budget, std::move(items));
  }

  Value dict(const Json& json, int depth) {
    std::vector<Dict::Pair> pairs;
    context_.budget.require(json.size(), sizeof(Dict::Pair));
    pairs.reserve(json.size());
    for (const auto& [key, value] : json.items()) {
      pairs.emplace_back(string(key), convert(value, depth + 1));
    }
    return make_dict(context_.budget, std::move(pairs));
  }

  Context& context_;
  const std::string& what_;
};

const Json* find_reasoning(const Json& message) {
  for (const std::string_view key : kReasoningKeys) {
    const auto found = message.find(std::string(key));
    if (found != message.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

Value prepare_message(Context& context, const Json& message, const std::string& what) {
  if (!message.is_object()) {
    fail(ErrorKind::input, cat(what, ": a message is an object, not ", message.type_name()));
  }
  Converter converter(context, what);
  std::vector<Dict::Pair> pairs;
  const auto add = [&](const std::string& key, const Json& value) {
    pairs.emplace_back(converter.string(key), converter.convert(value, 2));
  };
  // Where a key comes twice the first place and the last value count.
  const Json* reasoning = find_reasoning(message);
  if (reasoning != nullptr) add("thinking", *reasoning);
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) add(key, value);
  }
  if (reasoning != nullptr) add("reasoning_content", *reasoning);
  return make_dict(context.budget, std::move(pairs));
}

// The text to go on from: the content, or the last part of it that has a text.
std::string& text_to_continue(Json& message) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    fail(ErrorKind::input,
         "continue_final_message: the final message has no 'content' to continue");
  }
  Json* text = &*content;
  if (content->is_array()) {
    text = nullptr;
    for (Json& part : *content) {
      if (part.is_object() && part.contains("text")) text = &part["text"];
    }
  }
  if (text == nullptr || !text->is_string()) {
    fail(ErrorKind::input,
         "continue_final_message: the content of the final message has no text to continue");
  }
  return text->get_ref<std::string&>();
}

std::string_view trimmed(std::string_view text, jinja::Sides sides) {
  jinja::Budget budget;
  return jinja::strip(budget, text, std::nullopt, sides);
}

}  // namespace

Value value_from_json(Context& context, const Json& json, const std::string& what) {
  return Converter(context, what).convert(json, 1);
}

Value prepare_messages(Context& context, const Json& messages) {
  if (!messages.is_array()) {
    fail(ErrorKind::input, cat("messages: a list is expected, not ", messages.type_name()));
  }
  if (messages.empty()) {
    fail(ErrorKind::input, "messages: the list is empty; at least one message is needed");
  }
  std::vector<Value> prepared;
  context.budget.require(messages.size(), sizeof(Value));
  prepared.reserve(messages.size());
  for (std::size_t idx = 0; idx < messages.size(); ++idx) {
    prepared.push_back(prepare_message(context, messages[idx], cat("messages[", idx, "]")));
  }
  return make_list(context.budget, std::move(prepared));
}

Continuation::Continuation(Json& messages) {
  std::string& text = text_to_continue(messages.back());
  text_ = trimmed(text, {});
  (text += kTag) += ' ';
}

std::string Continuation::cut(std::string rendered) const {
  const std::size_t tag = rendered.rfind(kTag);
  if (tag == std::string::npos || jinja::find_text(rendered, text_) == std::string::npos) {
    fail(ErrorKind::input,
         "continue_final_message: the final message does not appear in what the template prints; "
         "templates that leave out a part of it cannot continue it");
  }
  const bool keeps_blank = std::string_view(rendered).substr(tag + kTag.size()).starts_with(' ');
  rendered.resize(tag);
  if (!keeps_blank) rendered.resize(trimmed(rendered, {.left = false}).size());
  return rendered;
}

}  // namespace trireme::text
