#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "text/jinja_access.h"
#include "text/jinja_filters.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

// Without the underscores that Python allows between digits; none where one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string result;
  for (std::size_t idx = 0; idx < text.size(); ++idx) {
    if (text[idx] != '_') {
      result += text[idx];
    } else if (idx == 0 || idx + 1 == text.size() || text[idx - 1] == '_') {
      return std::nullopt;
    }
  }
  return result;
}

// Takes "0x", "0o" or "0b" off where the base allows it and says the base; 0 asks the text.
int base_of(std::string_view& digits, std::int64_t base) {
  const char letter =
      digits.size() > 2 && digits[0] == '0' ? static_cast<char>(digits[1] | 0x20) : ' ';
  const int named = letter == 'x' ? 16 : (letter == 'o' ? 8 : (letter == 'b' ? 2 : 0));
  if (named != 0 && (base == 0 || base == named)) {
    digits.remove_prefix(2);
    return named;
  }
  return base == 0 ? 10 : static_cast<int>(base);
}

// int(text, base) as Python reads it; none if it is no integer, an error beyond 64 bits.
std::optional<std::int64_t> parse_integer(Budget& budget, std::string_view text,
                                          std::int64_t base) {
  const auto plain = without_underscores(strip(budget, text, std::nullopt));
  if (!plain || plain->empty()) return std::nullopt;
  std::string_view digits = *plain;
  const bool is_negative = digits[0] == '-';
  if (is_negative || digits[0] == '+') digits.remove_prefix(1);
  const int radix = base_of(digits, base);
  std::string number = is_negative ? "-" : "";
  number += digits;
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  std::int64_t value = 0;
  const char* end = number.data() + number.size();
  const auto parsed = std::from_chars(number.data(), end, value, radix);
  if (parsed.ptr != end) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) {
    fail(ErrorKind::input, "int: an integer beyond 64 bits");
  }
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_real(Budget& budget, std::string_view text) {
  auto plain = without_underscores(strip(budget, text, std::nullopt));
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '+') return std::nullopt;
  const bool is_negative = digits[0] == '-';
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value);
  if (parsed.ptr != end || digits.find('(') != std::string_view::npos) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) {
    const std::size_t exponent = digits.find_first_of("eE");
    const bool is_tiny = exponent != std::string_view::npos && digits[exponent + 1] == '-';
    value = is_tiny ? 0.0 : HUGE_VAL;
    return is_negative ? -value : value;
  }
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> truncated(double value) {
  if (std::isnan(value) || std::isinf(value)) return std::nullopt;
  if (std::abs(value) >= 9223372036854775808.0) {
    fail(ErrorKind::input, "int: the number is beyond 64 bits");
  }
  return static_cast<std::int64_t>(value);
}

Value int_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [otherwise, base] = bind<2>("int", arguments, {"default", "base"});
  const std::int64_t radix = integer("int", base, 10);
  if (radix != 0 && (radix < 2 || radix > 36)) {
    fail(ErrorKind::input, cat("int: the base is ", radix, ", must be 0 or 2 to 36"));
  }
  std::optional<std::int64_t> result;
  if (value.is_integral()) result = value.as_integer();
  if (value.is(Kind::real)) result = truncated(value.as_real());
  if (value.is(Kind::string)) {
    result = parse_integer(context.budget, text_of(value), radix);
    if (!result) {
      const auto real = parse_real(context.budget, text_of(value));
      if (real) result = truncated(*real);
    }
  }
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  if (result) return Value::integer(*result);
  return otherwise == nullptr ? Value::integer(0) : *otherwise;
}

Value float_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [otherwise] = bind<1>("float", arguments, {"default"});
  if (value.is_number()) return Value::real(value.as_real());
  if (value.is(Kind::undefined)) fail(ErrorKind::input, reason_of(value));
  if (value.is(Kind::string)) {
    const auto result = parse_real(context.budget, text_of(value));
    if (result) return Value::real(*result);
  }
  return otherwise == nullptr ? Value::real(0) : *otherwise;
}

Value abs_filter(Context&, const Value& value, const Arguments& arguments) {
  bind_nothing("abs", arguments);
  if (!value.is_number()) fail(ErrorKind::input, cat("abs needs a number, not ", type_name(value)));
  if (value.is(Kind::real)) return Value::real(std::abs(value.as_real()));
  return value.as_integer() < 0 ? negative(value) : positive(value);
}

// printf rounds the exact binary value, halves to even, as Python does.
double rounded(double value, int digits) {
  std::array<char, 700> buffer{};
  const int size = std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
  double result = value;
  std::from_chars(buffer.data(), buffer.data() + size, result);
  return result;
}

Value round_filter(Context&, const Value& value, const Arguments& arguments) {
  const auto [precision, method] = bind<2>("round", arguments, {"precision", "method"});
  const std::int64_t digits = integer("round", precision, 0);
  const std::string way = method == nullptr ? "common" : text("round", method);
  if (!value.is_number()) {
    fail(ErrorKind::input, cat("round needs a number, not ", type_name(value)));
  }
  if (digits < 0 || digits > 300) {
    fail(ErrorKind::input, cat("round: the precision is ", digits, ", must be 0 to 300"));
  }
  if (way == "common") {
    if (value.is_integral()) return positive(value);
    return Value::real(rounded(value.as_real(), static_cast<int>(digits)));
  }
  if (way != "ceil" && way != "floor") {
    fail(ErrorKind::input,
         cat("round: the method is '", clip(way), "', must be common, ceil or floor"));
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value.as_real() * scale;
  return Value::real((way == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value sum_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [attribute, start] = bind<2>("sum", arguments, {"attribute", "start"});
  std::vector<Value> path;
  if (attribute != nullptr && !attribute->is(Kind::none)) path = split_path(context, *attribute);
  Value total = start == nullptr ? Value::integer(0) : *start;
  if (total.is(Kind::string))
    fail(ErrorKind::input, "sum does not add texts; use the filter 'join'");
  const auto items = iterate(context, value);
  while (const auto item = items->next(context)) {
    context.budget.spend(1);
    total = arithmetic(context.budget, Arithmetic::add, total, follow_path(context, *item, path));
  }
  return total;
}

Value extreme(Context& context, const Value& value, const Arguments& arguments,
              std::string_view callee, Comparison comparison) {
  const auto [case_sensitive, attribute] =
      bind<2>(callee, arguments, {"case_sensitive", "attribute"});
  const SortKey key(context, attribute, flag(case_sensitive, false));
  const auto items = iterate(context, value);
  auto best = items->next(context);
  if (!best) return make_undefined(context.budget, cat(callee, " of nothing"));
  Value best_key = key.of(context, *best);
  while (auto item = items->next(context)) {
    Value item_key = key.of(context, *item);
    if (!ordered(context.budget, comparison, item_key, best_key)) continue;
    best = std::move(item);
    best_key = std::move(item_key);
  }
  return *best;
}

Value min_filter(Context& context, const Value& value, const Arguments& arguments) {
  return extreme(context, value, arguments, "min", Comparison::less);
}

Value max_filter(Context& context, const Value& value, const Arguments& arguments) {
  return extreme(context, value, arguments, "max", Comparison::greater);
}

constexpr std::array kNumberFilters = {
    Filter{"abs", abs_filter}, Filter{"float", float_filter}, Filter{"int", int_filter},
    Filter{"max", max_filter}, Filter{"min", min_filter},     Filter{"round", round_filter},
    Filter{"sum", sum_filter},
};

}  // namespace

std::span<const Filter> number_filters() { return kNumberFilters; }

}  // namespace trireme::text::jinja
