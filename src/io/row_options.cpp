#include "io/row_options.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/error.h"
#include "io/result_row.h"

namespace trireme::io {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxSamples = 256;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 4096;
constexpr std::size_t kMaxStopTokens = 256;
constexpr std::size_t kMaxBiases = 4096;

constexpr std::array<OptionField, 22> kFields = {{
    {"max_tokens", OptionKind::integer},
    {"min_tokens", OptionKind::integer},
    {"top_k", OptionKind::integer},
    {"n", OptionKind::integer},
    {"logprobs", OptionKind::integer},
    {"seed", OptionKind::integer},
    {"temperature", OptionKind::number},
    {"top_p", OptionKind::number},
    {"min_p", OptionKind::number},
    {"presence_penalty", OptionKind::number},
    {"frequency_penalty", OptionKind::number},
    {"repetition_penalty", OptionKind::number},
    {"ignore_eos", OptionKind::flag},
    {"prompt_logprobs", OptionKind::flag},
    {"add_generation_prompt", OptionKind::flag},
    {"continue_final_message", OptionKind::flag},
    {"stop", OptionKind::json},
    {"stop_token_ids", OptionKind::json},
    {"logit_bias", OptionKind::json},
    {"chat_template_kwargs", OptionKind::json},
    {"tools", OptionKind::json},
    {"documents", OptionKind::json},
}};

std::string expected(const Json& value, std::string_view what) {
  return cat(shown(value), ", expected ", what);
}

// The integer of a JSON number that is one and lies in [lowest, highest].
std::optional<std::int64_t> integer_in(const Json& value, std::int64_t lowest,
                                       std::int64_t highest) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(highest)) {
    return std::nullopt;
  }
  const auto number = value.get<std::int64_t>();
  if (number < lowest || number > highest) return std::nullopt;
  return number;
}

std::string set_integer(std::optional<std::int64_t>& into, const Json& value, std::int64_t lowest,
                        std::int64_t highest) {
  const auto number = integer_in(value, lowest, highest);
  if (!number) return expected(value, cat("an integer from ", lowest, " to ", highest));
  into = number;
  return {};
}

template <typename InRange>
std::string set_number(std::optional<double>& into, const Json& value, InRange in_range,
                       std::string_view what) {
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!std::isfinite(number) || !in_range(number)) return expected(value, what);
  into = number;
  return {};
}

std::string set_flag(std::optional<bool>& into, const Json& value) {
  if (!value.is_boolean()) return expected(value, "true or false");
  into = value.get<bool>();
  return {};
}

std::string set_seed(std::optional<std::uint64_t>& into, const Json& value) {
  const bool is_negative =
      value.is_number_integer() && !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
  if (!value.is_number_integer() || is_negative) {
    return expected(value, "an integer from 0 to 18446744073709551615");
  }
  into = value.get<std::uint64_t>();
  return {};
}

std::string set_logprobs(std::optional<std::int64_t>& into, const Json& value) {
  if (value.is_boolean()) {
    into = value.get<bool>() ? 0 : -1;
    return {};
  }
  const auto number = integer_in(value, -1, kMaxTopLogprobs);
  if (!number) {
    return expected(value, cat("true, false, or an integer from -1 (off) to ", kMaxTopLogprobs));
  }
  into = number;
  return {};
}

std::string set_stop(std::optional<std::vector<std::string>>& into, const Json& value) {
  const Json list = value.is_string() ? Json::array({value}) : value;
  const std::string what = cat("a string or a list of at most ", kMaxStops,
                               " strings, none empty or longer than ", kMaxStopBytes, " bytes");
  if (!list.is_array() || list.size() > kMaxStops) return expected(value, what);
  std::vector<std::string> stops;
  for (const Json& item : list) {
    if (!item.is_string()) return expected(value, what);
    stops.push_back(item.get<std::string>());
    if (stops.back().empty() || stops.back().size() > kMaxStopBytes) return expected(value, what);
  }
  into = std::move(stops);
  return {};
}

std::string set_stop_tokens(std::optional<std::vector<std::int32_t>>& into, const Json& value) {
  const std::string what = cat("a list of at most ", kMaxStopTokens, " token ids");
  if (!value.is_array() || value.size() > kMaxStopTokens) return expected(value, what);
  std::vector<std::int32_t> ids;
  for (const Json& item : value) {
    const auto id = integer_in(item, 0, kMaxInt32);
    if (!id) return expected(value, what);
    ids.push_back(static_cast<std::int32_t>(*id));
  }
  into = std::move(ids);
  return {};
}

std::string set_biases(std::optional<std::vector<std::pair<std::int32_t, float>>>& into,
                       const Json& value) {
  const std::string what = cat("an object of at most ", kMaxBiases,
                               " token ids (as strings) with values from -100 to 100");
  if (!value.is_object() || value.size() > kMaxBiases) return expected(value, what);
  std::vector<std::pair<std::int32_t, float>> biases;
  for (const auto& [key, bias] : value.items()) {
    std::int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const bool is_id = error == std::errc() && end == key.data() + key.size() && id >= 0;
    const double number = bias.is_number() ? bias.get<double>() : std::nan("");
    if (!is_id || !(number >= -100 && number <= 100)) return expected(value, what);
    biases.emplace_back(id, static_cast<float>(number));
  }
  into = std::move(biases);
  return {};
}

std::string set_template_value(RowOptions& options, std::string_view name, const Json& value) {
  if (name == "chat_template_kwargs") {
    if (!value.is_object()) return expected(value, "an object");
    options.chat_template_kwargs = value;
    return {};
  }
  if (!value.is_array()) return expected(value, "an array");
  (name == "tools" ? options.tools : options.documents) = value;
  return {};
}

std::string set_sampling_number(RowOptions& o, std::string_view name, const Json& value) {
  if (name == "temperature") {
    return set_number(
        o.temperature, value, [](double x) { return x == 0 || x >= 0.01; },
        "0 or a number of at least 0.01");
  }
  if (name == "top_p") {
    return set_number(
        o.top_p, value, [](double x) { return x > 0 && x <= 1; }, "a number above 0 and at most 1");
  }
  if (name == "min_p") {
    return set_number(
        o.min_p, value, [](double x) { return x >= 0 && x <= 1; }, "a number from 0 to 1");
  }
  if (name == "repetition_penalty") {
    return set_number(
        o.repetition_penalty, value, [](double x) { return x > 0; }, "a number above 0");
  }
  auto& penalty = name == "presence_penalty" ? o.presence_penalty : o.frequency_penalty;
  return set_number(
      penalty, value, [](double x) { return x >= -2 && x <= 2; }, "a number from -2 to 2");
}

}  // namespace

std::span<const OptionField> option_fields() { return kFields; }

std::string set_option(RowOptions& options, std::string_view name, const Json& value) {
  if (name == "max_tokens") return set_integer(options.max_tokens, value, 0, kMaxInt32);
  if (name == "min_tokens") return set_integer(options.min_tokens, value, 0, kMaxInt32);
  if (name == "top_k") return set_integer(options.top_k, value, 0, kMaxInt32);
  if (name == "n") return set_integer(options.n, value, 1, kMaxSamples);
  if (name == "logprobs") return set_logprobs(options.logprobs, value);
  if (name == "seed") return set_seed(options.seed, value);
  if (name == "ignore_eos") return set_flag(options.ignore_eos, value);
  if (name == "prompt_logprobs") return set_flag(options.prompt_logprobs, value);
  if (name == "add_generation_prompt") return set_flag(options.add_generation_prompt, value);
  if (name == "continue_final_message") return set_flag(options.continue_final_message, value);
  if (name == "stop") return set_stop(options.stop, value);
  if (name == "stop_token_ids") return set_stop_tokens(options.stop_token_ids, value);
  if (name == "logit_bias") return set_biases(options.logit_bias, value);
  if (name == "chat_template_kwargs" || name == "tools" || name == "documents") {
    return set_template_value(options, name, value);
  }
  return set_sampling_number(options, name, value);
}

Json sampling_as_json(const RowOptions& options) {
  Json json = Json::object();
  const auto put = [&](const char* name, const auto& value) {
    if (value) json[name] = *value;
  };
  put("max_tokens", options.max_tokens);
  put("min_tokens", options.min_tokens);
  put("top_k", options.top_k);
  put("n", options.n);
  put("logprobs", options.logprobs);
  put("seed", options.seed);
  put("temperature", options.temperature);
  put("top_p", options.top_p);
  put("min_p", options.min_p);
  put("presence_penalty", options.presence_penalty);
  put("frequency_penalty", options.frequency_penalty);
  put("repetition_penalty", options.repetition_penalty);
  put("ignore_eos", options.ignore_eos);
  put("prompt_logprobs", options.prompt_logprobs);
  put("stop", options.stop);
  put("stop_token_ids", options.stop_token_ids);
  if (options.logit_bias) {
    Json& biases = json["logit_bias"] = Json::object();
    for (const auto& [id, bias] : *options.logit_bias) biases[std::to_string(id)] = bias;
  }
  return json;
}

std::string check_options(const RowOptions& options) {
  if (options.min_tokens && options.max_tokens && *options.min_tokens > *options.max_tokens) {
    return cat("min_tokens is ", *options.min_tokens, ", expected at most max_tokens, which is ",
               *options.max_tokens);
  }
  return {};
}

std::string check_messages(const Json& messages) {
  if (!messages.is_array() || messages.empty()) {
    return cat("messages: ", shown(messages), ", expected an array of at least one message");
  }
  for (const Json& message : messages) {
    if (!message.is_object()) {
      return cat("messages: ", shown(message), " is one of them, expected an object");
    }
  }
  return {};
}

std::string shown(const Json& value) {
  // JSON has no words for these.
  if (value.is_number_float() && !std::isfinite(value.get<double>()))
    return cat(value.get<double>());
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  constexpr std::size_t kLongest = 80;
  if (text.size() > kLongest) {
    std::size_t end = kLongest;
    while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  return text;
}

}  // namespace trireme::io
