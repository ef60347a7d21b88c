#include "text/jinja_context.h"

#include "base/error.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

class ListIterator : public Iterator {
 public:
  ListIterator(Context& context, Value list)
      : Iterator(context, list.depth()), list_(std::move(list)) {}
  std::optional<Value> next(Context&) override {
    const auto& items = items_of(list_);
    if (next_ == items.size()) return std::nullopt;
    return items[next_++];
  }

 private:
  const Value list_;
  std::size_t next_ = 0;
};

class StringIterator : public Iterator {
 public:
  StringIterator(Context& context, Value text) : Iterator(context, 0), text_(std::move(text)) {}
  std::optional<Value> next(Context& context) override {
    const std::string& text = text_of(text_);
    if (next_ == text.size()) return std::nullopt;
    const std::size_t begin = next_;
    next_code_point(text, next_);
    return make_string(context.budget, text.substr(begin, next_ - begin));
  }

 private:
  const Value text_;
  std::size_t next_ = 0;
};

class RangeIterator : public Iterator {
 public:
  RangeIterator(Context& context, Value range) : Iterator(context, 0), range_(std::move(range)) {}
  std::optional<Value> next(Context&) override {
    const auto& range = range_.as<Range>();
    if (next_ == range.size) return std::nullopt;
    return range.at(next_++);
  }

 private:
  const Value range_;
  std::size_t next_ = 0;
};

class ViewIterator : public Iterator {
 public:
  ViewIterator(Context& context, Value view)
      : Iterator(context, view.depth()), view_(std::move(view)) {}
  std::optional<Value> next(Context& context) override {
    const auto& view = view_.as<View>();
    if (next_ == view.dict().items.size()) return std::nullopt;
    return view.at(context.budget, next_++);
  }

 private:
  const Value view_;
  std::size_t next_ = 0;
};

class EmptyIterator : public Iterator {
 public:
  explicit EmptyIterator(Context& context) : Iterator(context, 0) {}
  std::optional<Value> next(Context&) override { return std::nullopt; }
};

}  // namespace

Iterator::Iterator(Context& context, int depth_of_source) : Object(&context.budget, 64) {
  depth = depth_of_source + 1;
  if (depth > kMaxNesting) {
    fail(ErrorKind::input, cat("lazy filters are chained more than ", kMaxNesting, " times"));
  }
}

std::shared_ptr<Iterator> iterate(Context& context, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return std::make_shared<EmptyIterator>(context);
    case Kind::list:
    case Kind::tuple:
      return std::make_shared<ListIterator>(context, value);
    case Kind::string:
      return std::make_shared<StringIterator>(context, value);
    case Kind::range:
      return std::make_shared<RangeIterator>(context, value);
    case Kind::view:
      return std::make_shared<ViewIterator>(context, value);
    case Kind::dict: {
      auto keys = std::make_shared<View>(&context.budget, value, ViewKind::keys);
      return std::make_shared<ViewIterator>(context, Value(Kind::view, std::move(keys)));
    }
    case Kind::iterator:
      return std::static_pointer_cast<Iterator>(value.object());
    default:
      fail(ErrorKind::input, cat("'", type_name(value), "' object is not iterable"));
  }
}

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::string:
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::range:
    case Kind::view:
    case Kind::iterator:
      return true;
    default:
      return false;
  }
}

std::vector<Value> collect(Context& context, const Value& iterable) {
  if (is_sequence(iterable)) {
    context.budget.spend(items_of(iterable).size());
    context.budget.require(items_of(iterable).size(), sizeof(Value));
    return items_of(iterable);
  }
  const auto iterator = iterate(context, iterable);
  std::vector<Value> values;
  while (auto value = iterator->next(context)) {
    context.budget.spend(1);
    values.push_back(std::move(*value));
    context.budget.require(values.size(), sizeof(Value));
  }
  return values;
}

std::optional<std::size_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return value.as<String>().length;
    case Kind::list:
    case Kind::tuple:
      return items_of(value).size();
    case Kind::dict:
      return value.as<Dict>().items.size();
    case Kind::range:
      return value.as<Range>().size;
    case Kind::view:
      return value.as<View>().dict().items.size();
    default:
      return std::nullopt;
  }
}

}  // namespace trireme::text::jinja
