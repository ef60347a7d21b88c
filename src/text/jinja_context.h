#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "text/jinja_budget.h"
#include "text/jinja_value.h"

namespace trireme::text::jinja {

/// What one rendering owns. All its values must be gone before it.
struct Context {
  explicit Context(std::int64_t now) : unix_time(now) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  /// Empties the namespaces first: they are the only values that can refer to each other in a
  /// circle.
  ~Context() {
    for (const auto& name_space : namespaces) name_space->values.clear();
  }

  Budget budget;
  const std::int64_t unix_time;  ///< what strftime_now tells
  std::vector<std::shared_ptr<Namespace>> namespaces;
};

/// Gives values one after the other, once. Python's generator.
class Iterator : public Object {
 public:
  Iterator(Context& context, int depth_of_source);
  virtual ~Iterator() = default;
  /// The next value; none at the end, and again none after it.
  virtual std::optional<Value> next(Context& context) = 0;
};

/// Walks a value: the items of a list, the keys of a dict, the characters of a text, nothing for
/// Undefined. Throws "'int' object is not iterable" and the like.
std::shared_ptr<Iterator> iterate(Context& context, const Value& value);

bool is_iterable(const Value& value);

/// All the values of an iterable.
std::vector<Value> collect(Context& context, const Value& iterable);

/// len(); none for what has no length.
std::optional<std::size_t> length_of(const Value& value);

}  // namespace trireme::text::jinja
