#include "text/jinja_operators.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

bool equal_items(Budget& budget, const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [&](const Value& left, const Value& right) {
           return equal(budget, left, right);
         });
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = b.find(budget, key);
    if (other == nullptr || !equal(budget, value, *other)) return false;
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size != b.size) return false;
  return a.size == 0 || (a.start == b.start && (a.size == 1 || a.step == b.step));
}

std::string_view symbol_of(Comparison comparison) {
  switch (comparison) {
    case Comparison::less:
      return "<";
    case Comparison::less_equal:
      return "<=";
    case Comparison::greater:
      return ">";
    default:
      return ">=";
  }
}

template <typename T>
bool holds(Comparison comparison, const T& a, const T& b) {
  switch (comparison) {
    case Comparison::less:
      return a < b;
    case Comparison::less_equal:
      return a <= b;
    case Comparison::greater:
      return a > b;
    default:
      return a >= b;
  }
}

bool order_numbers(Comparison comparison, const Value& a, const Value& b) {
  if (std::isnan(a.as_real()) || std::isnan(b.as_real())) return false;
  return holds(comparison, compare_numbers(a, b), 0);
}

bool order_items(Budget& budget, Comparison comparison, const std::vector<Value>& a,
                 const std::vector<Value>& b) {
  for (std::size_t idx = 0; idx < std::min(a.size(), b.size()); ++idx) {
    if (!equal(budget, a[idx], b[idx])) return ordered(budget, comparison, a[idx], b[idx]);
  }
  return holds(comparison, a.size(), b.size());
}

bool contains_text(Budget& budget, const Value& container, const Value& item) {
  if (!item.is(Kind::string)) {
    fail(ErrorKind::input,
         cat("'in' with a text on its right needs a text on its left, not ", type_name(item)));
  }
  budget.spend_search(text_of(container).size() + text_of(item).size());
  return find_text(text_of(container), text_of(item)) != std::string::npos;
}

}  // namespace

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0;
    default:
      return length_of(value).value_or(1) != 0;
  }
}

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.spend(1);
  if (a.is_number() && b.is_number()) {
    return !std::isnan(a.as_real()) && compare_numbers(a, b) == 0;
  }
  if (a.kind() != b.kind()) return false;
  if (a.object() == b.object()) return true;
  switch (a.kind()) {
    case Kind::undefined:
      return true;
    case Kind::string:
      if (text_of(a).size() != text_of(b).size()) return false;
      budget.spend_bytes(text_of(a).size());
      return text_of(a) == text_of(b);
    case Kind::list:
    case Kind::tuple:
      return equal_items(budget, items_of(a), items_of(b));
    case Kind::dict:
      return equal_dicts(budget, a.as<Dict>(), b.as<Dict>());
    case Kind::range:
      return equal_ranges(a.as<Range>(), b.as<Range>());
    default:
      return false;
  }
}

bool ordered(Budget& budget, Comparison comparison, const Value& a, const Value& b) {
  budget.spend(1);
  if (a.is_number() && b.is_number()) return order_numbers(comparison, a, b);
  if (a.is(Kind::string) && b.is(Kind::string)) {
    budget.spend_bytes(std::min(text_of(a).size(), text_of(b).size()));
    return holds(comparison, text_of(a).compare(text_of(b)), 0);
  }
  if (is_sequence(a) && a.kind() == b.kind()) {
    return order_items(budget, comparison, items_of(a), items_of(b));
  }
  for (const Value* side : {&a, &b}) {
    if (side->is(Kind::undefined)) fail(ErrorKind::input, reason_of(*side));
  }
  fail(ErrorKind::input,
       cat("'", symbol_of(comparison), "' does not order ", type_name(a), " and ", type_name(b)));
}

bool contains(Context& context, const Value& container, const Value& item) {
  Budget& budget = context.budget;
  if (container.is(Kind::string)) return contains_text(budget, container, item);
  if (container.is(Kind::dict)) {
    if (is_sequence(item) || item.is(Kind::dict)) {
      fail(ErrorKind::input, cat("a ", type_name(item), " cannot be a key"));
    }
    return container.as<Dict>().find(budget, item) != nullptr;
  }
  if (is_sequence(container)) {
    const auto& items = items_of(container);
    return std::any_of(items.begin(), items.end(),
                       [&](const Value& other) { return equal(budget, other, item); });
  }
  if (!is_iterable(container)) {
    fail(ErrorKind::input,
         cat("'in' needs a text, a list or a dict on its right, not ", type_name(container)));
  }
  const auto iterator = iterate(context, container);
  while (const auto other = iterator->next(context)) {
    if (equal(budget, *other, item)) return true;
  }
  return false;
}

bool compare(Context& context, Comparison comparison, const Value& a, const Value& b) {
  switch (comparison) {
    case Comparison::equal:
      return equal(context.budget, a, b);
    case Comparison::not_equal:
      return !equal(context.budget, a, b);
    case Comparison::in:
      return contains(context, b, a);
    case Comparison::not_in:
      return !contains(context, b, a);
    default:
      return ordered(context.budget, comparison, a, b);
  }
}

}  // namespace trireme::text::jinja
