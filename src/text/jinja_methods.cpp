// The methods of strings, dicts and loops that a template can call.

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja_call.h"
#include "text/jinja_format.h"
#include "text/jinja_loop.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

// A result of a marked string is marked.
Value like(Context& context, const Value& self, std::string text) {
  return make_string(context.budget, std::move(text), self.as<String>().safe);
}

Value stripped(Context& context, const Value& self, const Arguments& arguments,
               std::string_view callee, Sides sides) {
  const auto [chars] = bind<1>(callee, arguments, {"chars"});
  const auto set = optional_text(callee, chars);
  return like(context, self, std::string(strip(context.budget, text_of(self), set, sides)));
}

Value strip_method(Context& context, const Value& self, const Arguments& arguments) {
  return stripped(context, self, arguments, "strip", {});
}

Value lstrip_method(Context& context, const Value& self, const Arguments& arguments) {
  return stripped(context, self, arguments, "lstrip", {.right = false});
}

Value rstrip_method(Context& context, const Value& self, const Arguments& arguments) {
  return stripped(context, self, arguments, "rstrip", {.left = false});
}

Value list_of(Context& context, const Value& self, const Pieces& pieces) {
  std::vector<Value> items;
  context.budget.require(pieces.size(), sizeof(Value));
  items.reserve(pieces.size());
  for (const std::string_view piece : pieces) {
    items.push_back(like(context, self, std::string(piece)));
  }
  return make_list(context.budget, std::move(items));
}

Value split_from(Context& context, const Value& self, const Arguments& arguments,
                 std::string_view callee, bool from_right) {
  const auto [separator, max_splits] = bind<2>(callee, arguments, {"sep", "maxsplit"});
  const std::size_t limit = count_or_all(integer(callee, max_splits, -1));
  const auto between = optional_text(callee, separator);
  const std::string& whole = text_of(self);
  return list_of(context, self,
                 between ? split(context.budget, whole, *between, limit, from_right)
                         : split_words(context.budget, whole, limit, from_right));
}

Value split_method(Context& context, const Value& self, const Arguments& arguments) {
  return split_from(context, self, arguments, "split", false);
}

Value rsplit_method(Context& context, const Value& self, const Arguments& arguments) {
  return split_from(context, self, arguments, "rsplit", true);
}

Value splitlines_method(Context& context, const Value& self, const Arguments& arguments) {
  bind_nothing("splitlines", arguments);
  return list_of(context, self, split_lines(context.budget, text_of(self)));
}

// One text, or a tuple of texts of which any will do.
template <typename Matches>
Value matches_any(const Value& wanted, std::string_view callee, Matches matches) {
  if (!wanted.is(Kind::tuple)) return Value::boolean(matches(text(callee, &wanted)));
  const auto& choices = items_of(wanted);
  return Value::boolean(std::any_of(choices.begin(), choices.end(), [&](const Value& choice) {
    return matches(text(callee, &choice));
  }));
}

Value startswith_method(Context&, const Value& self, const Arguments& arguments) {
  const auto [prefix] = bind<1>("startswith", arguments, {"prefix"});
  return matches_any(required("startswith", "prefix", prefix), "startswith",
                     [&](const std::string& start) { return text_of(self).starts_with(start); });
}

Value endswith_method(Context&, const Value& self, const Arguments& arguments) {
  const auto [suffix] = bind<1>("endswith", arguments, {"suffix"});
  return matches_any(required("endswith", "suffix", suffix), "endswith",
                     [&](const std::string& end) { return text_of(self).ends_with(end); });
}

Value replace_method(Context& context, const Value& self, const Arguments& arguments) {
  const auto [old_text, new_text, count] = bind<3>("replace", arguments, {"old", "new", "count"});
  const std::string& from = text("replace", old_text);
  const std::string& to = text("replace", new_text);
  const std::size_t limit = count_or_all(integer("replace", count, -1));
  const bool escapes = self.as<String>().safe && !new_text->as<String>().safe;
  return like(context, self,
              replace(context.budget, text_of(self), from,
                      escapes ? escape_html(context.budget, to) : to, limit));
}

Value upper_method(Context& context, const Value& self, const Arguments& arguments) {
  bind_nothing("upper", arguments);
  return like(context, self, upper(context.budget, text_of(self)));
}

Value lower_method(Context& context, const Value& self, const Arguments& arguments) {
  bind_nothing("lower", arguments);
  return like(context, self, lower(context.budget, text_of(self)));
}

Value title_method(Context& context, const Value& self, const Arguments& arguments) {
  bind_nothing("title", arguments);
  return like(context, self, title(context.budget, text_of(self)));
}

Value capitalize_method(Context& context, const Value& self, const Arguments& arguments) {
  bind_nothing("capitalize", arguments);
  return like(context, self, capitalize(context.budget, text_of(self)));
}

Value join_method(Context& context, const Value& self, const Arguments& arguments) {
  const auto [iterable] = bind<1>("join", arguments, {"iterable"});
  const bool safe = self.as<String>().safe;
  std::string result;
  bool is_first = true;
  const auto items = iterate(context, required("join", "iterable", iterable));
  while (const auto item = items->next(context)) {
    if (!is_first) result += text_of(self);
    is_first = false;
    context.budget.spend(1);
    context.budget.spend_bytes(text_of(self).size());
    const bool is_marked = item->is(Kind::string) && item->as<String>().safe;
    result += safe && !is_marked ? escape_html(context.budget, to_text(context.budget, *item))
                                 : text("join", &*item);
    context.budget.require(result.size());
  }
  return like(context, self, std::move(result));
}

Value find_method_of_string(Context& context, const Value& self, const Arguments& arguments) {
  const auto [wanted] = bind<1>("find", arguments, {"sub"});
  const std::string& whole = text_of(self);
  context.budget.spend_search(whole.size() + text("find", wanted).size());
  const std::size_t found = find_text(whole, text_of(*wanted));
  if (found == std::string::npos) return Value::integer(-1);
  return Value::integer(
      static_cast<std::int64_t>(count_code_points(std::string_view(whole).substr(0, found))));
}

Value count_method(Context& context, const Value& self, const Arguments& arguments) {
  const auto [wanted] = bind<1>("count", arguments, {"sub"});
  return Value::integer(
      static_cast<std::int64_t>(count(context.budget, text_of(self), text("count", wanted))));
}

Value format_method(Context& context, const Value& self, const Arguments& arguments) {
  return like(context, self, format(context, self.as<String>(), arguments));
}

Value view_of(Context& context, const Value& self, const Arguments& arguments, ViewKind kind) {
  bind_nothing("keys, values and items", arguments);
  return Value(Kind::view, std::make_shared<View>(&context.budget, self, kind));
}

Value keys_method(Context& context, const Value& self, const Arguments& arguments) {
  return view_of(context, self, arguments, ViewKind::keys);
}

Value values_method(Context& context, const Value& self, const Arguments& arguments) {
  return view_of(context, self, arguments, ViewKind::values);
}

Value items_method(Context& context, const Value& self, const Arguments& arguments) {
  return view_of(context, self, arguments, ViewKind::items);
}

Value get_method(Context& context, const Value& self, const Arguments& arguments) {
  const auto [key, otherwise] = bind<2>("get", arguments, {"key", "default"});
  const Value* found = self.as<Dict>().find(context.budget, required("get", "key", key));
  if (found != nullptr) return *found;
  return otherwise == nullptr ? Value::none() : *otherwise;
}

Value cycle_method(Context&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) {
    fail(ErrorKind::input, "loop.cycle needs values to go through");
  }
  const auto turn = static_cast<std::size_t>(self.as<Loop>().index0());
  return arguments.positional[turn % arguments.positional.size()];
}

constexpr std::array kMethods = {
    Method{Kind::dict, "get", get_method},
    Method{Kind::dict, "items", items_method},
    Method{Kind::dict, "keys", keys_method},
    Method{Kind::dict, "values", values_method},
    Method{Kind::loop, "cycle", cycle_method},
    Method{Kind::string, "capitalize", capitalize_method},
    Method{Kind::string, "count", count_method},
    Method{Kind::string, "endswith", endswith_method},
    Method{Kind::string, "find", find_method_of_string},
    Method{Kind::string, "format", format_method},
    Method{Kind::string, "join", join_method},
    Method{Kind::string, "lower", lower_method},
    Method{Kind::string, "lstrip", lstrip_method},
    Method{Kind::string, "replace", replace_method},
    Method{Kind::string, "rsplit", rsplit_method},
    Method{Kind::string, "rstrip", rstrip_method},
    Method{Kind::string, "split", split_method},
    Method{Kind::string, "splitlines", splitlines_method},
    Method{Kind::string, "startswith", startswith_method},
    Method{Kind::string, "strip", strip_method},
    Method{Kind::string, "title", title_method},
    Method{Kind::string, "upper", upper_method},
};

}  // namespace

const Method* find_method(Kind kind, std::string_view name) {
  const auto found = std::ranges::find_if(
      kMethods, [&](const Method& method) { return method.kind == kind && method.name == name; });
  return found == kMethods.end() ? nullptr : &*found;
}

}  // namespace trireme::text::jinja
