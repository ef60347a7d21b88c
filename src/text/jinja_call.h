#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "text/jinja_context.h"
#include "text/jinja_value.h"

namespace trireme::text::jinja {

/// The arguments of one call, as they stand on the machine's stack.
struct Arguments {
  std::span<const Value> positional;
  std::span<const Value> named;
  std::span<const std::string> names;  ///< of `named`
};

/// A filter gets the value before the bar, a test the one before `is`, a method the one before the
/// dot.
struct Filter {
  std::string_view name;
  Value (*apply)(Context& context, const Value& subject, const Arguments& arguments);
};

struct Test {
  std::string_view name;
  bool (*holds)(Context& context, const Value& subject, const Arguments& arguments);
};

struct Method {
  Kind kind;  ///< of the values that have it
  std::string_view name;
  Value (*call)(Context& context, const Value& self, const Arguments& arguments);
};

struct Function {
  std::string_view name;
  Value (*call)(Context& context, const Arguments& arguments);
};

/// The tables; null for a name that is not in them.
const Filter* find_filter(std::string_view name);
const Test* find_test(std::string_view name);
const Method* find_method(Kind kind, std::string_view name);
const Function* find_function(std::string_view name);

/// What to say of a name that is not in the table; names one that is near.
std::string unknown_filter(std::string_view name);
std::string unknown_test(std::string_view name);

namespace detail {
void bind(std::string_view callee, const Arguments& arguments,
          std::span<const std::string_view> parameters, std::span<const Value*> bound);
}

/// The arguments in the order of `parameters`, null where none was given. Throws, naming `callee`,
/// for an argument too many, an unknown name or one given twice.
template <std::size_t N>
std::array<const Value*, N> bind(std::string_view callee, const Arguments& arguments,
                                 const std::array<std::string_view, N>& parameters) {
  std::array<const Value*, N> bound{};
  detail::bind(callee, arguments, parameters, bound);
  return bound;
}

inline void bind_nothing(std::string_view callee, const Arguments& arguments) {
  detail::bind(callee, arguments, {}, {});
}

// What a bound argument is; null gives the default, another kind throws, naming callee and
// parameter.
const Value& required(std::string_view callee, std::string_view parameter, const Value* argument);
bool flag(const Value* argument, bool otherwise);
std::int64_t integer(std::string_view callee, const Value* argument, std::int64_t otherwise);
const std::string& text(std::string_view callee, const Value* argument);
/// None where the argument was not given or is none.
std::optional<std::string_view> optional_text(std::string_view callee, const Value* argument);

/// A count where a negative number means "all", as in replace and split.
inline std::size_t count_or_all(std::int64_t count) {
  return count < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(count);
}

}  // namespace trireme::text::jinja
