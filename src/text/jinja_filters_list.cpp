#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja_access.h"
#include "text/jinja_filters.h"
#include "text/jinja_operators.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

Value length_filter(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("length", arguments);
  const auto length = length_of(value);
  if (!length) {
    fail(ErrorKind::input,
         cat("a ", type_name(value), " has no length",
             value.is(Kind::iterator) ? "; the filter 'list' makes a list of it" : ""));
  }
  return Value::integer(static_cast<std::int64_t>(*length));
}

Value list_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("list", arguments);
  return make_list(context.budget, collect(context, value));
}

Value first_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("first", arguments);
  auto item = iterate(context, value)->next(context);
  return item ? *item : make_undefined(context.budget, "the first of nothing");
}

Value last_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("last", arguments);
  if (value.is(Kind::iterator)) {
    fail(ErrorKind::input, "last of a generator; the filter 'list' makes a list of it");
  }
  if (value.is(Kind::string)) {
    std::string_view text = text_of(value);
    if (text.empty()) return make_undefined(context.budget, "the last of nothing");
    std::size_t begin = text.size() - 1;
    while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    return make_string(context.budget, std::string(text.substr(begin)));
  }
  const std::vector<Value> items = collect(context, value);
  return items.empty() ? make_undefined(context.budget, "the last of nothing") : items.back();
}

Value reverse_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("reverse", arguments);
  if (value.is(Kind::string)) {
    return get_slice(context, value, {Value::none(), Value::none(), Value::integer(-1)});
  }
  std::vector<Value> items = collect(context, value);
  std::reverse(items.begin(), items.end());
  Value list = make_list(context.budget, std::move(items));
  // Python gives a list for what it cannot walk backwards, else something lazy.
  if (value.is(Kind::iterator)) return list;
  return Value(Kind::iterator, iterate(context, list));
}

// `skips_equal`: equal keys are not ordered, which for None and the like would be an error.
void sort_by_key(Context& context, std::vector<Value>& items, const std::vector<Value>& keys,
                 bool reverse, bool skips_equal) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t idx = 0; idx < order.size(); ++idx) order[idx] = idx;
  const auto comparison = reverse ? Comparison::greater : Comparison::less;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (skips_equal && equal(context.budget, keys[a], keys[b])) return false;
    return ordered(context.budget, comparison, keys[a], keys[b]);
  });
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const std::size_t idx : order) sorted.push_back(std::move(items[idx]));
  items = std::move(sorted);
}

Value sort_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [reverse, case_sensitive, attribute] =
      bind<3>("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const SortKey key(context, attribute, flag(case_sensitive, false));
  std::vector<Value> items = collect(context, value);
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) keys.push_back(key.of(context, item));
  sort_by_key(context, items, keys, flag(reverse, false), true);
  return make_list(context.budget, std::move(items));
}

Value dictsort_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [case_sensitive, by, reverse] =
      bind<3>("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string part = by == nullptr ? "key" : text("dictsort", by);
  if (part != "key" && part != "value") {
    fail(ErrorKind::input, cat("dictsort: by is '", clip(part), "', must be key or value"));
  }
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  if (!value.is(Kind::dict)) {
    fail(ErrorKind::input, cat("dictsort needs a dict, not ", type_name(value)));
  }
  const SortKey key(context, nullptr, flag(case_sensitive, false));
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& pair : value.as<Dict>().items) {
    items.push_back(make_tuple(context.budget, {pair.first, pair.second}));
    keys.push_back(key.of(context, part == "key" ? pair.first : pair.second));
  }
  sort_by_key(context, items, keys, flag(reverse, false), false);
  return make_list(context.budget, std::move(items));
}

Value items_filter(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("items", arguments);
  if (value.is(Kind::undefined)) return Value(Kind::iterator, iterate(context, value));
  if (!value.is(Kind::dict)) {
    fail(ErrorKind::input, cat("items needs a dict, not ", type_name(value)));
  }
  const Value view(Kind::view, std::make_shared<View>(&context.budget, value, ViewKind::items));
  return Value(Kind::iterator, iterate(context, view));
}

Value default_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [otherwise, boolean] = bind<2>("default", arguments, {"default_value", "boolean"});
  const bool replaces = value.is(Kind::undefined) || (flag(boolean, false) && !truth(value));
  if (!replaces) return value;
  return otherwise == nullptr ? make_string(context.budget, "") : *otherwise;
}

constexpr std::array kListFilters = {
    Filter{"count", length_filter},    Filter{"d", default_filter},
    Filter{"default", default_filter}, Filter{"dictsort", dictsort_filter},
    Filter{"first", first_filter},     Filter{"items", items_filter},
    Filter{"last", last_filter},       Filter{"length", length_filter},
    Filter{"list", list_filter},       Filter{"reverse", reverse_filter},
    Filter{"sort", sort_filter},
};

}  // namespace

std::span<const Filter> list_filters() { return kListFilters; }

}  // namespace trireme::text::jinja
