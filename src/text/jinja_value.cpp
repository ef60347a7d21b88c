#include "text/jinja_value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

// Searching a short dict costs less than sorting it.
constexpr std::size_t kSearchInOrder = 8;

void set_depth(Object& object, int deepest_part) {
  object.depth = deepest_part + 1;
  if (object.depth > kMaxNesting) {
    fail(ErrorKind::input, cat("values are nested deeper than ", kMaxNesting, " levels"));
  }
}

int deepest(const std::vector<Value>& values) {
  int depth = 0;
  for (const Value& value : values) depth = std::max(depth, value.depth());
  return depth;
}

int compare_integer_with_real(std::int64_t a, double b) {
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (std::isnan(b) || b >= kTwoTo63) return -1;
  if (b < -kTwoTo63) return 1;
  const auto whole = static_cast<std::int64_t>(b);
  if (a != whole) return a < whole ? -1 : 1;
  const double rest = b - static_cast<double>(whole);
  return rest > 0 ? -1 : (rest < 0 ? 1 : 0);
}

// Groups that are never equal to each other.
int key_group(const Value& key) {
  switch (key.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::none:
      return 1;
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
      return 2;
    case Kind::string:
      return 3;
    default:
      fail(ErrorKind::input, cat("a ", type_name(key), " cannot be a key"));
  }
}

bool can_be_key(const Value& value) { return value.kind() <= Kind::string; }

}  // namespace

String::String(Budget* budget, std::string utf8, bool is_safe)
    : Object(budget, utf8.size()),
      text(std::move(utf8)),
      length(count_code_points(text)),
      safe(is_safe) {}

List::List(Budget* budget, std::vector<Value> values)
    : Object(budget, values.size() * sizeof(Value)), items(std::move(values)) {
  set_depth(*this, deepest(items));
}

Dict::Dict(Budget* budget, std::vector<Pair> pairs)
    : Object(budget, pairs.size() * (sizeof(Pair) + sizeof(std::uint32_t))),
      items(std::move(pairs)) {
  int deepest_part = 0;
  for (const auto& [key, value] : items) {
    deepest_part = std::max({deepest_part, key.depth(), value.depth()});
  }
  set_depth(*this, deepest_part);
}

const Value* Dict::find(Budget& budget, const Value& key) const {
  if (!can_be_key(key)) return nullptr;
  spend_on_key(budget, key, items.size());
  if (items.size() <= kSearchInOrder) {
    for (const auto& [name, value] : items) {
      if (compare_keys(name, key) == 0) return &value;
    }
    return nullptr;
  }
  const auto before = [this](std::uint32_t place, const Value& wanted) {
    return compare_keys(items[place].first, wanted) < 0;
  };
  if (order_.empty()) {
    order_.resize(items.size());
    std::iota(order_.begin(), order_.end(), 0U);
    std::sort(order_.begin(), order_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return before(a, items[b].first); });
  }
  const auto found = std::lower_bound(order_.begin(), order_.end(), key, before);
  if (found == order_.end() || compare_keys(items[*found].first, key) != 0) return nullptr;
  return &items[*found].second;
}

View::View(Budget* budget, Value dict, ViewKind kind)
    : Object(budget, 0), owner(std::move(dict)), what(kind) {
  set_depth(*this, owner.depth());
}

Value View::at(Budget& budget, std::size_t idx) const {
  const auto& [key, value] = dict().items[idx];
  if (what == ViewKind::keys) return key;
  if (what == ViewKind::values) return value;
  return make_tuple(budget, {key, value});
}

void Namespace::set(std::string_view name, Value value) {
  if (name.starts_with('_')) {
    fail(ErrorKind::input,
         cat("a namespace cannot hold the name '", name, "', which begins with an underscore"));
  }
  const auto found = values.find(name);
  if (found != values.end()) {
    found->second = std::move(value);
    return;
  }
  held.grow(name.size() + 128);
  values.emplace(name, std::move(value));
}

MethodObject::MethodObject(Budget* budget, Value receiver, const Method& which)
    : Object(budget, 0), self(std::move(receiver)), method(which) {
  set_depth(*this, self.depth());
}

Value make_undefined(Budget& budget, std::string reason) {
  budget.spend(4);
  return Value(Kind::undefined, std::make_shared<Missing>(&budget, std::move(reason)));
}

Value make_string(Budget& budget, std::string text, bool safe) {
  budget.spend_bytes(text.size());
  budget.require(text.size());
  return Value(Kind::string, std::make_shared<String>(&budget, std::move(text), safe));
}

Value make_constant(std::string text) {
  return Value(Kind::string, std::make_shared<String>(nullptr, std::move(text), false));
}

Value make_list(Budget& budget, std::vector<Value> items) {
  budget.spend(items.size());
  return Value(Kind::list, std::make_shared<List>(&budget, std::move(items)));
}

Value make_tuple(Budget& budget, std::vector<Value> items) {
  budget.spend(items.size());
  return Value(Kind::tuple, std::make_shared<List>(&budget, std::move(items)));
}

Value make_dict(Budget& budget, std::vector<Dict::Pair> pairs) {
  budget.spend(pairs.size());
  std::vector<std::uint32_t> order(pairs.size());
  std::iota(order.begin(), order.end(), 0U);
  for (const auto& pair : pairs) spend_on_key(budget, pair.first, pairs.size());
  const auto before = [&pairs](std::uint32_t a, std::uint32_t b) {
    return compare_keys(pairs[a].first, pairs[b].first) < 0;
  };
  std::stable_sort(order.begin(), order.end(), before);
  std::vector<bool> is_repeated(pairs.size());
  bool any_repeated = false;
  for (std::size_t first = 0, idx = 1; idx < order.size(); ++idx) {
    if (before(order[first], order[idx])) {
      first = idx;
      continue;
    }
    pairs[order[first]].second = pairs[order[idx]].second;
    is_repeated[order[idx]] = any_repeated = true;
  }
  if (any_repeated) {
    std::vector<Dict::Pair> kept;
    for (std::size_t idx = 0; idx < pairs.size(); ++idx) {
      if (!is_repeated[idx]) kept.push_back(std::move(pairs[idx]));
    }
    pairs = std::move(kept);
  }
  return Value(Kind::dict, std::make_shared<Dict>(&budget, std::move(pairs)));
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::range:
      return "range";
    case Kind::view:
      return "dict view";
    case Kind::iterator:
      return "generator";
    case Kind::name_space:
      return "namespace";
    case Kind::loop:
      return "loop";
    case Kind::macro:
      return "macro";
    case Kind::function:
      return "function";
    case Kind::method:
      return "method";
  }
  return "value";
}

std::string reason_of(const Value& value) {
  return value.object() ? value.as<Missing>().reason : "the value is undefined";
}

int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return a.as_integer() < b.as_integer() ? -1 : (a.as_integer() > b.as_integer() ? 1 : 0);
  }
  if (a.is_integral()) return compare_integer_with_real(a.as_integer(), b.as_real());
  if (b.is_integral()) return -compare_integer_with_real(b.as_integer(), a.as_real());
  const double x = a.as_real();
  const double y = b.as_real();
  if (std::isnan(x) || std::isnan(y)) return static_cast<int>(std::isnan(x)) - std::isnan(y);
  return x < y ? -1 : (x > y ? 1 : 0);
}

int compare_keys(const Value& a, const Value& b) {
  const int group = key_group(a);
  if (group != key_group(b)) return group - key_group(b);
  if (a.is_number()) return compare_numbers(a, b);
  if (a.is(Kind::string)) return text_of(a).compare(text_of(b));
  return 0;
}

void spend_on_key(Budget& budget, const Value& key, std::size_t count) {
  key_group(key);
  const auto comparisons = static_cast<std::size_t>(std::bit_width(count)) + 1;
  budget.spend(comparisons / 4);
  if (key.is(Kind::string)) budget.spend_bytes(comparisons * text_of(key).size());
}

}  // namespace trireme::text::jinja
