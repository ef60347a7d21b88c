#pragma once

#include <cstdint>

#include "text/jinja_context.h"
#include "text/jinja_value.h"

namespace trireme::text::jinja {

enum class Arithmetic : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,        ///< always gives a float
  floor_divide,  ///< towards minus infinity
  modulo,        ///< has the sign of the divisor
  power
};

enum class Comparison : std::uint8_t {
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

/// Python's truth: false for nothing, Undefined, zero and what is empty.
bool truth(const Value& value);

/// a == b. Undefined equals Undefined alone; lists, tuples and dicts by their parts.
bool equal(Budget& budget, const Value& a, const Value& b);

/// One of the four orders, of numbers, strings, lists or tuples. Throws for other pairs.
bool ordered(Budget& budget, Comparison comparison, const Value& a, const Value& b);

/// item in container: part of a text, item of a list, key of a dict.
bool contains(Context& context, const Value& container, const Value& item);

bool compare(Context& context, Comparison comparison, const Value& a, const Value& b);

/// Throws for kinds that do not go together, a division by zero and integers beyond 64 bits.
Value arithmetic(Budget& budget, Arithmetic operation, const Value& a, const Value& b);

/// -value and +value, of numbers.
Value negative(const Value& value);
Value positive(const Value& value);

}  // namespace trireme::text::jinja
