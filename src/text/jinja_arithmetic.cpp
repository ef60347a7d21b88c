#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/jinja_operators.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

constexpr std::array<std::string_view, 7> kSymbols = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void refuse_overflow() {
  fail(ErrorKind::input, "the result is an integer beyond 64 bits");
}

[[noreturn]] void refuse_zero() { fail(ErrorKind::input, "division by zero"); }

[[noreturn]] void refuse_kinds(Arithmetic operation, const Value& a, const Value& b) {
  if (operation == Arithmetic::modulo && a.is(Kind::string)) {
    fail(ErrorKind::input, "'%' of a text (formatting) is not supported; use '~' or format()");
  }
  for (const Value* side : {&a, &b}) {
    if (side->is(Kind::undefined)) fail(ErrorKind::input, reason_of(*side));
  }
  fail(ErrorKind::input, cat("'", kSymbols[static_cast<std::size_t>(operation)], "' does not take ",
                             type_name(a), " and ", type_name(b)));
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (b == 0) refuse_zero();
  if (a == std::numeric_limits<std::int64_t>::min() && b == -1) refuse_overflow();
  const std::int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

std::int64_t floor_remainder(std::int64_t a, std::int64_t b) {
  if (b == 0) refuse_zero();
  if (b == -1) return 0;
  const std::int64_t remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) refuse_zero();
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) refuse_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) refuse_overflow();
  }
  return Value::integer(result);
}

Value integer_arithmetic(Arithmetic operation, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflows = false;
  switch (operation) {
    case Arithmetic::add:
      overflows = __builtin_add_overflow(a, b, &result);
      break;
    case Arithmetic::subtract:
      overflows = __builtin_sub_overflow(a, b, &result);
      break;
    case Arithmetic::multiply:
      overflows = __builtin_mul_overflow(a, b, &result);
      break;
    case Arithmetic::divide:
      if (b == 0) refuse_zero();
      // long double holds every 64-bit integer, so the quotient is rounded once more at most.
      return Value::real(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Arithmetic::floor_divide:
      result = floor_quotient(a, b);
      break;
    case Arithmetic::modulo:
      result = floor_remainder(a, b);
      break;
    case Arithmetic::power:
      return integer_power(a, b);
  }
  if (overflows) refuse_overflow();
  return Value::integer(result);
}

// Python's float remainder: the sign of the divisor, also for zero.
double real_remainder(double a, double b) {
  double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  if ((remainder < 0) != (b < 0)) remainder += b;
  return remainder;
}

double real_floor_quotient(double a, double b) {
  const double quotient = (a - real_remainder(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) refuse_zero();
  const double result = std::pow(base, exponent);
  if (std::isnan(result) && !std::isnan(base) && !std::isnan(exponent)) {
    fail(ErrorKind::input, "'**': the root of a negative number");
  }
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    fail(ErrorKind::input, "'**': the result is too large");
  }
  return result;
}

Value real_arithmetic(Arithmetic operation, double a, double b) {
  const bool divides = operation == Arithmetic::divide || operation == Arithmetic::floor_divide ||
                       operation == Arithmetic::modulo;
  if (divides && b == 0) refuse_zero();
  switch (operation) {
    case Arithmetic::add:
      return Value::real(a + b);
    case Arithmetic::subtract:
      return Value::real(a - b);
    case Arithmetic::multiply:
      return Value::real(a * b);
    case Arithmetic::divide:
      return Value::real(a / b);
    case Arithmetic::floor_divide:
      return Value::real(real_floor_quotient(a, b));
    case Arithmetic::modulo:
      return Value::real(real_remainder(a, b));
    case Arithmetic::power:
      break;
  }
  return Value::real(real_power(a, b));
}

// A marked string escapes the other, and the sum is marked.
Value add_strings(Budget& budget, const String& a, const String& b) {
  budget.require(a.text.size() + b.text.size());
  if (a.safe == b.safe) return make_string(budget, a.text + b.text, a.safe);
  if (a.safe) return make_string(budget, a.text + escape_html(budget, b.text), true);
  return make_string(budget, escape_html(budget, a.text) + b.text, true);
}

Value add_lists(Budget& budget, const Value& a, const Value& b) {
  const std::size_t size = items_of(a).size() + items_of(b).size();
  budget.require(size, sizeof(Value));
  std::vector<Value> items;
  items.reserve(size);
  items.insert(items.end(), items_of(a).begin(), items_of(a).end());
  items.insert(items.end(), items_of(b).begin(), items_of(b).end());
  return a.is(Kind::list) ? make_list(budget, std::move(items))
                          : make_tuple(budget, std::move(items));
}

Value repeat(Budget& budget, const Value& value, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (value.is(Kind::string)) {
    const auto& string = value.as<String>();
    budget.require(count, string.text.size());
    const std::size_t size = count * string.text.size();
    std::string result;
    result.reserve(size);
    if (size > 0) result = string.text;
    while (result.size() < size) result.append(result, 0, size - result.size());
    return make_string(budget, std::move(result), string.safe);
  }
  const auto& parts = items_of(value);
  budget.require(count, parts.size() * sizeof(Value));
  std::vector<Value> items;
  items.reserve(count * parts.size());
  for (std::size_t idx = 0; idx < count && !parts.empty(); ++idx) {
    items.insert(items.end(), parts.begin(), parts.end());
  }
  return value.is(Kind::list) ? make_list(budget, std::move(items))
                              : make_tuple(budget, std::move(items));
}

bool can_repeat(const Value& value) { return value.is(Kind::string) || is_sequence(value); }

}  // namespace

Value arithmetic(Budget& budget, Arithmetic operation, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    return integer_arithmetic(operation, a.as_integer(), b.as_integer());
  }
  if (a.is_number() && b.is_number()) {
    return real_arithmetic(operation, a.as_real(), b.as_real());
  }
  if (operation == Arithmetic::add) {
    if (a.is(Kind::string) && b.is(Kind::string)) {
      return add_strings(budget, a.as<String>(), b.as<String>());
    }
    if (is_sequence(a) && a.kind() == b.kind()) return add_lists(budget, a, b);
  }
  if (operation == Arithmetic::multiply) {
    if (can_repeat(a) && b.is_integral()) return repeat(budget, a, b.as_integer());
    if (can_repeat(b) && a.is_integral()) return repeat(budget, b, a.as_integer());
  }
  refuse_kinds(operation, a, b);
}

Value negative(const Value& value) {
  if (value.is(Kind::real)) return Value::real(-value.as_real());
  if (value.is_integral()) {
    return integer_arithmetic(Arithmetic::subtract, 0, value.as_integer());
  }
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  fail(ErrorKind::input, cat("'-' does not take ", type_name(value)));
}

Value positive(const Value& value) {
  if (value.is(Kind::real)) return value;
  if (value.is_integral()) return Value::integer(value.as_integer());
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  fail(ErrorKind::input, cat("'+' does not take ", type_name(value)));
}

}  // namespace trireme::text::jinja
