#include "config/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "config/faults.h"

namespace trireme::config {
namespace {

constexpr std::size_t kMaxListItems = 4096;
constexpr std::size_t kMaxStopStrings = 64;

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<bool> parse_flag(std::string_view text) {
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  return std::nullopt;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// Whether a value is one that the key may have.

bool allowed(const Expected& expected, std::int64_t value) {
  return value >= expected.min && value <= expected.max &&
         (!expected.allows || expected.allows(static_cast<double>(value)));
}
bool allowed(const Expected& expected, double value) {
  return std::isfinite(value) && (!expected.allows || expected.allows(value));
}
bool allowed(const Expected&, bool) { return true; }
bool allowed(const Expected&, std::uint64_t) { return true; }
bool allowed(const Expected& expected, const std::string& value) {
  const auto& choices = expected.choices;
  if (!choices.empty()) return std::find(choices.begin(), choices.end(), value) != choices.end();
  return value.find('\0') == std::string::npos;
}
bool allowed(const Expected& expected, const std::vector<std::int64_t>& value) {
  return value.size() <= kMaxListItems && std::all_of(value.begin(), value.end(), [&](auto item) {
           return allowed(expected, item);
         });
}
bool allowed(const Expected&, const std::vector<std::string>& value) {
  return value.size() <= kMaxStopStrings &&
         std::none_of(value.begin(), value.end(), [](const auto& item) { return item.empty(); });
}
template <typename T>
bool allowed(const Expected& expected, const std::optional<T>& value) {
  return !value || allowed(expected, *value);
}

// What a YAML value means for a type; none if nothing.

template <typename Number>
bool read_number(const YamlNode& node, Number& out) {
  const std::optional<Number> value =
      node.is_scalar() && !node.quoted ? parse_number<Number>(node.text) : std::nullopt;
  if (value) out = *value;
  return value.has_value();
}

bool read(const Expected& expected, const YamlNode& node, std::int64_t& out) {
  if (!expected.zero_word.empty() && node.is_scalar() && node.text == expected.zero_word) {
    out = 0;
    return true;
  }
  if (expected.is_bytes && node.is_scalar()) {
    const std::optional<std::int64_t> bytes = parse_bytes(node.text);
    if (bytes && !(node.quoted && parse_whole(node.text))) {
      out = *bytes;
      return true;
    }
  }
  return read_number(node, out);
}
bool read(const Expected&, const YamlNode& node, std::uint64_t& out) {
  return read_number(node, out);
}
bool read(const Expected&, const YamlNode& node, double& out) { return read_number(node, out); }

bool read(const Expected&, const YamlNode& node, bool& out) {
  const std::optional<bool> value =
      node.is_scalar() && !node.quoted ? parse_flag(node.text) : std::nullopt;
  if (value) out = *value;
  return value.has_value();
}

bool read(const Expected& expected, const YamlNode& node, std::string& out) {
  if (!node.is_scalar()) return false;
  const bool is_word = node.quoted || !(parse_number<double>(node.text) || parse_flag(node.text));
  if (!is_word) return false;
  out = expected.choices.empty() ? node.text : lower(node.text);
  return true;
}

template <typename T>
bool read(const Expected& expected, const YamlNode& node, std::optional<T>& out) {
  T value{};
  if (!read(expected, node, value)) return false;
  out = value;
  return true;
}

template <typename T>
bool read(const Expected& expected, const YamlNode& node, std::vector<T>& out) {
  std::vector<T> values;
  if (std::is_same_v<T, std::string> && node.is_scalar()) {
    values.resize(1);
    if (!read(expected, node, values[0])) return false;
  } else if (node.kind != YamlNode::Kind::list) {
    return false;
  }
  for (const YamlNode& item : node.items) {
    T value{};
    if (!read(expected, item, value)) return false;
    values.push_back(std::move(value));
  }
  out = std::move(values);
  return true;
}

std::string described(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "empty";
    case YamlNode::Kind::map:
      return "a map";
    case YamlNode::Kind::list: {
      std::string text = "[";
      for (std::size_t i = 0; i < std::min<std::size_t>(node.items.size(), 8); ++i) {
        text += cat(i > 0 ? ", " : "", described(node.items[i]));
      }
      return text + (node.items.size() > 8 ? ", ...]" : "]");
    }
    case YamlNode::Kind::scalar:
      return node.quoted ? cat("the string ", shown(node.text)) : shown(node.text);
  }
  return {};
}

bool is_unset_word(const Key& key, const YamlNode& node) {
  if (node.kind == YamlNode::Kind::null) return true;
  return node.is_scalar() && !key.unset_word.empty() && node.text == key.unset_word;
}

/// A word that looks like a number must be quoted where text belongs; the message says so.
std::string expectation(const Key& key, const YamlNode& node, const Slot& slot) {
  const bool is_text = std::holds_alternative<std::string*>(slot) ||
                       std::holds_alternative<std::vector<std::string>*>(slot);
  const bool looks_like_number = node.is_scalar() && !node.quoted && key.expected.choices.empty();
  return key.expected.text + (is_text && looks_like_number ? " (text, in quotes)" : "");
}

/// The place of a value that is only read.
Slot slot_of(const Key& key, const RunConfig& config) {
  return key.slot(const_cast<RunConfig&>(config));
}

bool is_unset(const Key& key, const RunConfig& config) {
  static const RunConfig defaults;
  const Slot default_slot = slot_of(key, defaults);
  return !key.unset_word.empty() &&
         std::visit(
             [&default_slot](auto* value) {
               return *value == *std::get<std::remove_cvref_t<decltype(value)>>(default_slot);
             },
             slot_of(key, config));
}

template <typename T>
Json json_of(const T& value) {
  return value;
}
template <typename T>
Json json_of(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

std::optional<std::string> assign(const Key& key, const YamlNode& value, RunConfig& config) {
  const Slot slot = key.slot(config);
  const bool good = std::visit(
      [&](auto* place) {
        using T = std::remove_pointer_t<std::remove_cvref_t<decltype(place)>>;
        T read_value{};
        if (is_unset_word(key, value)) {
          RunConfig defaults;
          read_value = *std::get<T*>(key.slot(defaults));
        } else if (!read(key.expected, value, read_value) || !allowed(key.expected, read_value)) {
          return false;
        }
        *place = std::move(read_value);
        return true;
      },
      slot);
  if (good) return std::nullopt;
  return cat(key.name, " is ", described(value), ", expected ", expectation(key, value, slot));
}

std::optional<std::string> complaint(const Key& key, const RunConfig& config) {
  const bool good = is_unset(key, config) ||
                    std::visit([&key](auto* value) { return allowed(key.expected, *value); },
                               slot_of(key, config));
  if (good) return std::nullopt;
  return cat(key.name, " is ", value_text(key, config), ", expected ", key.expected.text);
}

Json value_json(const Key& key, const RunConfig& config) {
  if (is_unset(key, config)) {
    return key.unset_word == "false" ? Json(false) : Json(key.unset_word);
  }
  return std::visit([](auto* value) { return json_of(*value); }, slot_of(key, config));
}

std::string value_text(const Key& key, const RunConfig& config) {
  const Json value = value_json(key, config);
  if (value.is_string()) return shown(value.get<std::string>());
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    return cat(value.get<double>());
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<std::int64_t> parse_whole(std::string_view text) {
  return parse_number<std::int64_t>(text);
}

std::optional<std::int64_t> parse_bytes(std::string_view text) {
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  std::int64_t unit = 1;
  for (int i = 0; i < 4; ++i) {
    if (!text.ends_with(kUnits[i])) continue;
    unit = std::int64_t{1} << (10 * (i + 1));
    text.remove_suffix(kUnits[i].size());
    while (text.ends_with(' ')) text.remove_suffix(1);
    break;
  }
  const std::optional<std::int64_t> count = parse_whole(text);
  std::int64_t bytes = 0;
  if (!count || __builtin_mul_overflow(*count, unit, &bytes)) return std::nullopt;
  return bytes;
}

}  // namespace trireme::config
