#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja_access.h"
#include "text/jinja_filters.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

Value string_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("string", arguments);
  return as_string(context, value);
}

Value safe_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("safe", arguments);
  return make_string(context.budget, to_text(context.budget, value), true);
}

Value upper_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("upper", arguments);
  const Value string = as_string(context, value);
  return make_string(context.budget, upper(context.budget, text_of(string)),
                     string.as<String>().safe);
}

Value lower_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("lower", arguments);
  const Value string = as_string(context, value);
  return make_string(context.budget, lower(context.budget, text_of(string)),
                     string.as<String>().safe);
}

Value capitalize_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("capitalize", arguments);
  const Value string = as_string(context, value);
  return make_string(context.budget, capitalize(context.budget, text_of(string)),
                     string.as<String>().safe);
}

bool begins_word(char32_t before) {
  return is_space(before) || before == '-' || before == '(' || before == '{' || before == '[' ||
         before == '<';
}

// Unlike the method of that name a word begins only after a blank, a hyphen or an open bracket.
Value title_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("title", arguments);
  const std::string text = to_text(context.budget, value);
  std::string result;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t first_end = begin;
    const bool is_break = begins_word(next_code_point(text, first_end));
    std::size_t end = first_end;
    for (std::size_t at = end; at < text.size(); end = at) {
      if (begins_word(next_code_point(text, at)) != is_break) break;
    }
    const std::string_view word = std::string_view(text).substr(begin, end - begin);
    result += upper(context.budget, word.substr(0, first_end - begin));
    result += lower(context.budget, word.substr(first_end - begin));
    context.budget.spend(4);
    context.budget.require(result.size());
    begin = end;
  }
  return make_string(context.budget, std::move(result));
}

Value trim_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [chars] = bind<1>("trim", arguments, {"chars"});
  const Value string = as_string(context, value);
  const auto trimmed = strip(context.budget, text_of(string), optional_text("trim", chars));
  return make_string(context.budget, std::string(trimmed), string.as<String>().safe);
}

Value replace_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [old_text, new_text, count] = bind<3>("replace", arguments, {"old", "new", "count"});
  Budget& budget = context.budget;
  const std::string from = to_text(budget, required("replace", "old", old_text));
  const std::string to = to_text(budget, required("replace", "new", new_text));
  const bool is_limited = count != nullptr && !count->is(Kind::none);
  const std::int64_t limit = is_limited ? integer("replace", count, -1) : -1;
  return make_string(budget,
                     replace(budget, to_text(budget, value), from, to, count_or_all(limit)));
}

std::string indention_of(Context& context, const Value* width) {
  if (width != nullptr && width->is(Kind::string)) return text_of(*width);
  const std::int64_t blanks = std::max<std::int64_t>(integer("indent", width, 4), 0);
  context.budget.require(static_cast<std::size_t>(blanks));
  return std::string(static_cast<std::size_t>(blanks), ' ');
}

Value indent_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [width, first, blank] = bind<3>("indent", arguments, {"width", "first", "blank"});
  Budget& budget = context.budget;
  const std::string indention = indention_of(context, width);
  Pieces lines = split_lines(budget, text("indent", &value));
  const std::string& whole = text_of(value);
  // A line end at the very end is followed by one more, empty line.
  const bool ends_open = lines.empty() || lines.back().end() != std::string_view(whole).end();
  if (ends_open) lines.push_back({});
  budget.require(lines.size(), indention.size());
  budget.require(whole.size() + lines.size() * (indention.size() + 1));
  std::string result;
  for (std::size_t idx = 0; idx < lines.size(); ++idx) {
    if (idx > 0) result += '\n';
    const bool indents = idx == 0 ? flag(first, false) : !lines[idx].empty() || flag(blank, false);
    if (indents) result += indention;
    result += lines[idx];
  }
  return make_string(budget, std::move(result), value.as<String>().safe);
}

Value join_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [separator, attribute] = bind<2>("join", arguments, {"d", "attribute"});
  Budget& budget = context.budget;
  std::string between;
  if (separator != nullptr) append_text(budget, between, *separator);
  std::vector<Value> path;
  if (attribute != nullptr && !attribute->is(Kind::none)) path = split_path(context, *attribute);
  std::string result;
  bool is_first = true;
  const auto items = iterate(context, value);
  while (const auto item = items->next(context)) {
    if (!is_first) result += between;
    is_first = false;
    budget.spend(1);
    budget.spend_bytes(between.size());
    budget.require(result.size());
    append_text(budget, result, follow_path(context, *item, path));
  }
  return make_string(budget, std::move(result));
}

void set_separators(JsonStyle& style, const Value& separators) {
  if (separators.is(Kind::none)) return;
  if (!is_sequence(separators) || items_of(separators).size() != 2) {
    fail(ErrorKind::input, "tojson: separators are two texts");
  }
  style.item_separator = text("tojson", &items_of(separators)[0]);
  style.key_separator = text("tojson", &items_of(separators)[1]);
}

Value tojson_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [ensure_ascii, indent, separators, sort_keys] =
      bind<4>("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = flag(ensure_ascii, false);
  style.sort_keys = flag(sort_keys, false);
  if (indent != nullptr && !indent->is(Kind::none)) {
    style.indent = indention_of(context, indent);
    style.item_separator = std::string(1, ',');
  }
  if (separators != nullptr) set_separators(style, *separators);
  return make_string(context.budget, to_json(context.budget, value, style));
}

Value wordcount_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("wordcount", arguments);
  const std::string text = to_text(context.budget, value);
  context.budget.spend_characters(text.size());
  std::int64_t words = 0;
  bool in_word = false;
  for (std::size_t at = 0; at < text.size();) {
    const bool is_word = is_word_character(next_code_point(text, at));
    if (is_word && !in_word) ++words;
    in_word = is_word;
  }
  return Value::integer(words);
}

constexpr std::array kTextFilters = {
    Filter{"capitalize", capitalize_filter},
    Filter{"indent", indent_filter},
    Filter{"join", join_filter},
    Filter{"lower", lower_filter},
    Filter{"replace", replace_filter},
    Filter{"safe", safe_filter},
    Filter{"string", string_filter},
    Filter{"title", title_filter},
    Filter{"tojson", tojson_filter},
    Filter{"trim", trim_filter},
    Filter{"upper", upper_filter},
    Filter{"wordcount", wordcount_filter},
};

}  // namespace

std::span<const Filter> text_filters() { return kTextFilters; }

}  // namespace trireme::text::jinja
