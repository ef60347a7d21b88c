#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "text/jinja_context.h"
#include "text/jinja_value.h"

namespace trireme::text::jinja {

/// The turns of one `for`, and what `loop` tells of them. Looks one item ahead only when asked to.
class Loop : public Object {
 public:
  Loop(Context& context, const Value& iterable);

  /// The item of the next turn; none when there are no more.
  std::optional<Value> next(Context& context);

  std::int64_t index0() const { return index0_; }
  const std::optional<Value>& current() const { return current_; }
  const std::optional<Value>& previous() const { return previous_; }
  const std::optional<Value>& following(Context& context);
  /// The number of items. Those of a lazy iterable are all fetched for it.
  std::size_t length(Context& context);

 private:
  std::shared_ptr<Iterator> items_;
  std::optional<std::size_t> length_;
  std::int64_t index0_ = -1;
  std::optional<Value> previous_;
  std::optional<Value> current_;
  std::optional<Value> following_;
  bool has_peeked_ = false;
};

/// loop.NAME; none for a name that `loop` does not have, an error for one that is not supported.
std::optional<Value> loop_attribute(Context& context, const Value& loop, std::string_view name);

}  // namespace trireme::text::jinja
