// The words after `is`.

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/nearest.h"
#include "text/jinja_call.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

template <Kind kKind>
bool is_kind(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("the test", arguments);
  return value.is(kKind);
}

bool is_defined(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("defined", arguments);
  return !value.is(Kind::undefined);
}

bool is_iterable_test(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("iterable", arguments);
  return is_iterable(value);
}

// What has a length and can be indexed: dicts and texts too, and Undefined.
bool is_sequence_test(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("sequence", arguments);
  return length_of(value).has_value() && !value.is(Kind::view);
}

bool is_number_test(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("number", arguments);
  return value.is_number();
}

bool is_callable(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("callable", arguments);
  return value.is(Kind::macro) || value.is(Kind::function) || value.is(Kind::method) ||
         value.is(Kind::undefined);
}

bool is_escaped(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("escaped", arguments);
  return value.is(Kind::string) && value.as<String>().safe;
}

template <bool kWanted>
bool is_truth_value(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("the test", arguments);
  return value.is(Kind::boolean) && (value.as_integer() != 0) == kWanted;
}

bool is_upper_test(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("upper", arguments);
  const std::string text = to_text(context.budget, value);
  context.budget.spend_characters(text.size());
  return is_upper(text);
}

bool is_lower_test(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("lower", arguments);
  const std::string text = to_text(context.budget, value);
  context.budget.spend_characters(text.size());
  return is_lower(text);
}

bool has_remainder(Context& context, const Value& value, const Value& divisor,
                   std::int64_t remainder) {
  const Value rest = arithmetic(context.budget, Arithmetic::modulo, value, divisor);
  return equal(context.budget, rest, Value::integer(remainder));
}

bool is_odd(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("odd", arguments);
  return has_remainder(context, value, Value::integer(2), 1);
}

bool is_even(Context& context, const Value& value, const Arguments& arguments) {
  bind_nothing("even", arguments);
  return has_remainder(context, value, Value::integer(2), 0);
}

bool is_divisible(Context& context, const Value& value, const Arguments& arguments) {
  const auto [divisor] = bind<1>("divisibleby", arguments, {"num"});
  return has_remainder(context, value, required("divisibleby", "num", divisor), 0);
}

template <Comparison kComparison>
bool compares(Context& context, const Value& value, const Arguments& arguments) {
  const auto [other] = bind<1>("the test", arguments, {"other"});
  return compare(context, kComparison, value, required("the test", "other", other));
}

constexpr std::array kTests = {
    Test{"!=", compares<Comparison::not_equal>},
    Test{"<", compares<Comparison::less>},
    Test{"<=", compares<Comparison::less_equal>},
    Test{"==", compares<Comparison::equal>},
    Test{">", compares<Comparison::greater>},
    Test{">=", compares<Comparison::greater_equal>},
    Test{"boolean", is_kind<Kind::boolean>},
    Test{"callable", is_callable},
    Test{"defined", is_defined},
    Test{"divisibleby", is_divisible},
    Test{"eq", compares<Comparison::equal>},
    Test{"equalto", compares<Comparison::equal>},
    Test{"escaped", is_escaped},
    Test{"even", is_even},
    Test{"false", is_truth_value<false>},
    Test{"float", is_kind<Kind::real>},
    Test{"ge", compares<Comparison::greater_equal>},
    Test{"greaterthan", compares<Comparison::greater>},
    Test{"gt", compares<Comparison::greater>},
    Test{"in", compares<Comparison::in>},
    Test{"integer", is_kind<Kind::integer>},
    Test{"iterable", is_iterable_test},
    Test{"le", compares<Comparison::less_equal>},
    Test{"lessthan", compares<Comparison::less>},
    Test{"lower", is_lower_test},
    Test{"lt", compares<Comparison::less>},
    Test{"mapping", is_kind<Kind::dict>},
    Test{"ne", compares<Comparison::not_equal>},
    Test{"none", is_kind<Kind::none>},
    Test{"number", is_number_test},
    Test{"odd", is_odd},
    Test{"sequence", is_sequence_test},
    Test{"string", is_kind<Kind::string>},
    Test{"true", is_truth_value<true>},
    Test{"undefined", is_kind<Kind::undefined>},
    Test{"upper", is_upper_test},
};

}  // namespace

const Test* find_test(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &Test::name);
  return found == kTests.end() ? nullptr : &*found;
}

std::string unknown_test(std::string_view name) {
  std::vector<std::string> names;
  for (const Test& known : kTests) names.emplace_back(known.name);
  const std::string nearest = nearest_name(clip(name), names);
  return cat("the test '", clip(name), "' is not known",
             nearest.empty() ? "" : cat("; is '", nearest, "' meant?"));
}

}  // namespace trireme::text::jinja
