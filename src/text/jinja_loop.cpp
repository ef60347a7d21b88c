#include "text/jinja_loop.h"

#include "base/error.h"
#include "text/jinja_call.h"

namespace trireme::text::jinja {

Loop::Loop(Context& context, const Value& iterable)
    : Object(&context.budget, sizeof(Loop)),
      items_(iterate(context, iterable)),
      length_(length_of(iterable)) {
  depth = items_->depth + 1;
}

std::optional<Value> Loop::next(Context& context) {
  auto item = has_peeked_ ? std::move(following_) : items_->next(context);
  following_.reset();
  has_peeked_ = false;
  if (!item) return std::nullopt;
  previous_ = std::move(current_);
  current_ = item;
  ++index0_;
  return item;
}

const std::optional<Value>& Loop::following(Context& context) {
  if (!has_peeked_) following_ = items_->next(context);
  has_peeked_ = true;
  return following_;
}

std::size_t Loop::length(Context& context) {
  if (!length_) {
    std::vector<Value> rest;
    while (auto value = items_->next(context)) {
      rest.push_back(std::move(*value));
      context.budget.spend(1);
      context.budget.require(rest.size(), sizeof(Value));
    }
    length_ = static_cast<std::size_t>(index0_) + 1 + (following_ ? 1 : 0) + rest.size();
    items_ = iterate(context, make_list(context.budget, std::move(rest)));
  }
  return *length_;
}

std::optional<Value> loop_attribute(Context& context, const Value& value, std::string_view name) {
  auto& loop = value.as<Loop>();
  const auto neighbour = [&](const std::optional<Value>& item, std::string_view reason) {
    return item ? *item : make_undefined(context.budget, std::string(reason));
  };
  if (name == "index0") return Value::integer(loop.index0());
  if (name == "index") return Value::integer(loop.index0() + 1);
  if (name == "first") return Value::boolean(loop.index0() == 0);
  if (name == "last") return Value::boolean(!loop.following(context));
  if (name == "previtem") return neighbour(loop.previous(), "there is no previous item");
  if (name == "nextitem") return neighbour(loop.following(context), "there is no next item");
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "changed") fail(ErrorKind::input, "'loop.changed' is not supported");
  if (name != "length" && name != "revindex" && name != "revindex0") return std::nullopt;
  const auto length = static_cast<std::int64_t>(loop.length(context));
  if (name == "length") return Value::integer(length);
  return Value::integer(length - loop.index0() - (name == "revindex0" ? 1 : 0));
}

}  // namespace trireme::text::jinja
