#include "text/jinja_access.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "text/jinja_call.h"
#include "text/jinja_loop.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

// What Python's types have besides the methods of our table.
struct PythonMethods {
  Kind kind;
  bool changes_value;
  std::initializer_list<std::string_view> names;
};

const std::array<PythonMethods, 7> kPythonMethods = {{
    {Kind::list, true, {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"}},
    {Kind::dict, true, {"clear", "pop", "popitem", "setdefault", "update"}},
    {Kind::list, false, {"copy", "count", "index"}},
    {Kind::tuple, false, {"count", "index"}},
    {Kind::dict, false, {"copy", "fromkeys"}},
    {Kind::range, false, {"count", "index", "start", "step", "stop"}},
    {Kind::string, false, {"casefold",  "center",       "encode",       "expandtabs", "format_map",
                           "index",     "isalnum",      "isalpha",      "isascii",    "isdecimal",
                           "isdigit",   "isidentifier", "islower",      "isnumeric",  "isprintable",
                           "isspace",   "istitle",      "isupper",      "ljust",      "maketrans",
                           "partition", "removeprefix", "removesuffix", "rfind",      "rindex",
                           "rjust",     "rpartition",   "swapcase",     "translate",  "zfill"}},
}};

Value missing(Context& context, const Value& value, std::string_view what, const Value& key) {
  std::string reason = value.is(Kind::none) ? "'None'" : std::string(type_name(value)) + " object";
  reason.append(" has no ").append(what);
  if (key.is(Kind::string)) {
    append_repr(context.budget, reason += ' ',
                make_string(context.budget, std::string(clip(text_of(key)))));
  } else if (key.is_number()) {
    append_text(context.budget, reason += ' ', key);
  }
  return make_undefined(context.budget, std::move(reason));
}

// A method of the table, or what stands in for one of Python's that is not there.
std::optional<Value> find_member(Context& context, const Value& value, std::string_view name) {
  if (const Method* method = find_method(value.kind(), name)) {
    auto object = std::make_shared<MethodObject>(&context.budget, value, *method);
    return Value(Kind::method, std::move(object));
  }
  for (const auto& methods : kPythonMethods) {
    if (methods.kind != value.kind()) continue;
    if (std::ranges::find(methods.names, name) == methods.names.end()) continue;
    if (methods.changes_value) {
      return make_undefined(context.budget, cat("a template must not change a ", type_name(value),
                                                " ('", name, "')"));
    }
    fail(ErrorKind::input, cat("'", name, "' of a ", type_name(value), " is not supported"));
  }
  if (value.is(Kind::loop)) return loop_attribute(context, value, name);
  if (value.is(Kind::name_space)) {
    const auto& values = value.as<Namespace>().values;
    const auto found = values.find(name);
    if (found != values.end()) return found->second;
  }
  return std::nullopt;
}

// Names like __class__, which lead from Python's data into its inside.
bool is_internal(std::string_view name) { return name.starts_with("__"); }

std::size_t size_or_zero(const Value& value) {
  const bool has_items = value.is(Kind::string) || is_sequence(value) || value.is(Kind::range);
  return has_items ? *length_of(value) : 0;
}

// Item `idx` of a text, list, tuple or range; it must be there.
Value item_at(Context& context, const Value& value, std::size_t idx) {
  if (value.is(Kind::range)) return value.as<Range>().at(idx);
  if (is_sequence(value)) return items_of(value)[idx];
  const auto& string = value.as<String>();
  std::size_t begin = idx;
  if (!string.is_ascii()) {
    context.budget.spend_bytes(string.text.size());
    begin = byte_offset(string.text, idx);
  }
  const std::string_view rest = std::string_view(string.text).substr(begin);
  return make_string(context.budget, std::string(rest.substr(0, byte_offset(rest, 1))),
                     string.safe);
}

std::optional<Value> find_item(Context& context, const Value& value, const Value& key) {
  if (value.is(Kind::dict)) {
    const Value* found = value.as<Dict>().find(context.budget, key);
    if (found == nullptr) return std::nullopt;
    return *found;
  }
  if (!key.is_integral()) return std::nullopt;
  const auto size = static_cast<std::int64_t>(size_or_zero(value));
  const std::int64_t idx = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
  if (idx < 0 || idx >= size) return std::nullopt;
  return item_at(context, value, static_cast<std::size_t>(idx));
}

// The places that a slice takes: `count` of them from `first` on.
struct Places {
  std::int64_t first = 0;
  std::int64_t step = 1;
  std::size_t count = 0;
};

// A bound of a slice as Python reads it: from the end if negative, then moved into [low, high].
std::int64_t clamp_bound(const Value& bound, std::int64_t otherwise, std::int64_t size,
                         std::int64_t low, std::int64_t high) {
  if (bound.is(Kind::none)) return otherwise;
  const std::int64_t idx = bound.as_integer();
  return std::clamp(idx < 0 ? idx + size : idx, low, high);
}

Places places_of(const SliceBounds& bounds, std::int64_t size) {
  Places places;
  if (!bounds.step.is(Kind::none)) places.step = bounds.step.as_integer();
  if (places.step == 0) fail(ErrorKind::input, "the step of a slice is 0");
  // A step beyond the length takes one item, whatever it is; so the sums below cannot overflow.
  places.step = std::clamp(places.step, -size - 1, size + 1);
  const bool forward = places.step > 0;
  const std::int64_t low = forward ? 0 : -1;
  const std::int64_t high = forward ? size : size - 1;
  places.first = clamp_bound(bounds.start, forward ? 0 : size - 1, size, low, high);
  const std::int64_t stop = clamp_bound(bounds.stop, forward ? size : -1, size, low, high);
  const std::int64_t span = forward ? stop - places.first : places.first - stop;
  const std::int64_t stride = forward ? places.step : -places.step;
  if (span > 0) places.count = static_cast<std::size_t>((span + stride - 1) / stride);
  return places;
}

Value slice_string(Context& context, const String& string, const Places& places) {
  context.budget.spend_bytes(string.text.size());
  if (places.step == 1) {
    const auto first = static_cast<std::size_t>(places.first);
    const std::string_view text = string.text;
    const std::size_t begin = string.is_ascii() ? first : byte_offset(text, first);
    const std::string_view rest = text.substr(begin);
    const std::size_t size = string.is_ascii() ? places.count : byte_offset(rest, places.count);
    return make_string(context.budget, std::string(rest.substr(0, size)), string.safe);
  }
  context.budget.spend_characters(string.text.size());
  context.budget.require(string.length, sizeof(std::uint32_t));
  std::vector<std::uint32_t> begins;  // of each code point, and the end
  begins.reserve(string.length + 1);
  for (std::size_t at = 0; at < string.text.size();) {
    begins.push_back(static_cast<std::uint32_t>(at));
    next_code_point(string.text, at);
  }
  begins.push_back(static_cast<std::uint32_t>(string.text.size()));
  std::string result;
  for (std::size_t done = 0; done < places.count; ++done) {
    const std::int64_t place = places.first + static_cast<std::int64_t>(done) * places.step;
    const auto idx = static_cast<std::size_t>(place);
    result.append(string.text, begins[idx], begins[idx + 1] - begins[idx]);
  }
  return make_string(context.budget, std::move(result), string.safe);
}

}  // namespace

Value get_attribute(Context& context, const Value& value, const Value& name) {
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  if (!is_internal(text_of(name))) {
    if (auto member = find_member(context, value, text_of(name))) return *member;
    if (auto item = find_item(context, value, name)) return *item;
  }
  return missing(context, value, "attribute", name);
}

Value get_item(Context& context, const Value& value, const Value& key) {
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  if (auto item = find_item(context, value, key)) return *item;
  if (key.is(Kind::string) && !is_internal(text_of(key))) {
    if (auto member = find_member(context, value, text_of(key))) return *member;
  }
  return missing(context, value, key.is(Kind::string) ? "attribute" : "element", key);
}

Value get_slice(Context& context, const Value& value, const SliceBounds& bounds) {
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  bool can_slice = value.is(Kind::string) || is_sequence(value) || value.is(Kind::range);
  for (const Value* bound : {&bounds.start, &bounds.stop, &bounds.step}) {
    can_slice = can_slice && (bound->is(Kind::none) || bound->is_integral());
  }
  if (!can_slice && bounds.undefined_if_wrong) {
    return missing(context, value, "such slice", Value::none());
  }
  if (!can_slice) {
    fail(ErrorKind::input, cat("a ", type_name(value), " cannot be sliced like this"));
  }
  const Places places = places_of(bounds, static_cast<std::int64_t>(size_or_zero(value)));
  if (value.is(Kind::string)) return slice_string(context, value.as<String>(), places);
  if (value.is(Kind::range)) {
    const auto& range = value.as<Range>();
    // Steps are multiplied only where two items stand that far apart: no overflow.
    const std::int64_t step = places.count > 1 ? range.step * places.step : 1;
    const std::int64_t start = places.count > 0 ? range.start + places.first * range.step : 0;
    auto part = std::make_shared<Range>(&context.budget, start, step, places.count);
    return Value(Kind::range, std::move(part));
  }
  std::vector<Value> items;
  items.reserve(places.count);
  for (std::size_t done = 0; done < places.count; ++done) {
    const std::int64_t place = places.first + static_cast<std::int64_t>(done) * places.step;
    items.push_back(items_of(value)[static_cast<std::size_t>(place)]);
  }
  return value.is(Kind::list) ? make_list(context.budget, std::move(items))
                              : make_tuple(context.budget, std::move(items));
}

std::vector<Value> split_path(Context& context, const Value& attribute) {
  if (attribute.is_integral()) return {attribute};
  if (!attribute.is(Kind::string)) {
    fail(ErrorKind::input, cat("an attribute is named by a text, not by ", type_name(attribute)));
  }
  std::vector<Value> path;
  for (const std::string_view part : split(context.budget, text_of(attribute), ".",
                                           static_cast<std::size_t>(kMaxNesting), false)) {
    std::int64_t number = 0;
    const auto end = std::from_chars(part.data(), part.data() + part.size(), number);
    const bool is_number = !part.empty() && part[0] != '-' && end.ec == std::errc() &&
                           end.ptr == part.data() + part.size();
    path.push_back(is_number ? Value::integer(number)
                             : make_string(context.budget, std::string(part)));
  }
  return path;
}

Value follow_path(Context& context, const Value& value, const std::vector<Value>& path,
                  const Value* otherwise) {
  Value here = value;
  for (const Value& part : path) {
    here = get_item(context, here, part);
    if (here.is(Kind::undefined) && otherwise != nullptr) here = *otherwise;
  }
  return here;
}

}  // namespace trireme::text::jinja
