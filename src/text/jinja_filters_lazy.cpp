// The filters that give their values one by one, as they are asked for.

#include <array>
#include <set>

#include "base/error.h"
#include "text/jinja_access.h"
#include "text/jinja_filters.h"
#include "text/jinja_operators.h"

namespace trireme::text::jinja {
namespace {

// Arguments that outlive the call they came with.
class KeptArguments {
 public:
  KeptArguments(const Arguments& arguments, std::size_t skip)
      : positional_(arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip),
                    arguments.positional.end()),
        named_(arguments.named.begin(), arguments.named.end()),
        names_(arguments.names.begin(), arguments.names.end()) {}
  Arguments view() const { return {positional_, named_, names_}; }

 private:
  std::vector<Value> positional_;
  std::vector<Value> named_;
  std::vector<std::string> names_;
};

int depth_of(const Value& subject, const Arguments& arguments) {
  int depth = subject.depth();
  for (const Value& value : arguments.positional) depth = std::max(depth, value.depth());
  for (const Value& value : arguments.named) depth = std::max(depth, value.depth());
  return depth;
}

// map, select and the like take none, 0 and false for nothing to go through.
std::shared_ptr<Iterator> iterate_if_true(Context& context, const Value& value) {
  return iterate(context, truth(value) ? value : Value());
}

Value lazy(std::shared_ptr<Iterator> iterator) {
  return Value(Kind::iterator, std::move(iterator));
}

class FilterMap : public Iterator {
 public:
  FilterMap(Context& context, const Value& source, const Filter& filter, const Arguments& arguments)
      : Iterator(context, depth_of(source, arguments)),
        source_(iterate_if_true(context, source)),
        filter_(filter),
        arguments_(arguments, 1) {}

  std::optional<Value> next(Context& context) override {
    const auto item = source_->next(context);
    if (!item) return std::nullopt;
    context.budget.spend(1);
    return filter_.apply(context, *item, arguments_.view());
  }

 private:
  std::shared_ptr<Iterator> source_;
  const Filter& filter_;
  const KeptArguments arguments_;
};

class AttributeMap : public Iterator {
 public:
  AttributeMap(Context& context, const Value& source, const Value& attribute,
               std::optional<Value> otherwise)
      : Iterator(context, std::max(source.depth(), otherwise ? otherwise->depth() : 0)),
        source_(iterate_if_true(context, source)),
        path_(split_path(context, attribute)),
        otherwise_(std::move(otherwise)) {}

  std::optional<Value> next(Context& context) override {
    const auto item = source_->next(context);
    if (!item) return std::nullopt;
    context.budget.spend(1);
    return follow_path(context, *item, path_, otherwise_ ? &*otherwise_ : nullptr);
  }

 private:
  std::shared_ptr<Iterator> source_;
  const std::vector<Value> path_;
  const std::optional<Value> otherwise_;
};

// What select, reject, selectattr and rejectattr have in common.
struct Selection {
  std::vector<Value> path;     // of the attribute that is tested; empty for the item itself
  const Test* test = nullptr;  // none: its truth
  bool keeps = true;           // or drops what passes
};

class Selected : public Iterator {
 public:
  Selected(Context& context, const Value& source, Selection selection, const Arguments& arguments,
           std::size_t skip)
      : Iterator(context, depth_of(source, arguments)),
        source_(iterate_if_true(context, source)),
        selection_(std::move(selection)),
        arguments_(arguments, skip) {}

  std::optional<Value> next(Context& context) override {
    while (auto item = source_->next(context)) {
      context.budget.spend(1);
      const Value value = follow_path(context, *item, selection_.path);
      const bool passes = selection_.test == nullptr
                              ? truth(value)
                              : selection_.test->holds(context, value, arguments_.view());
      if (passes == selection_.keeps) return item;
    }
    return std::nullopt;
  }

 private:
  std::shared_ptr<Iterator> source_;
  const Selection selection_;
  const KeptArguments arguments_;
};

class Unique : public Iterator {
 public:
  Unique(Context& context, const Value& source, SortKey key)
      : Iterator(context, source.depth()),
        source_(iterate(context, source)),
        key_(std::move(key)) {}

  std::optional<Value> next(Context& context) override {
    while (auto item = source_->next(context)) {
      Value key = key_.of(context, *item);
      spend_on_key(context.budget, key, seen_.size());
      if (!seen_.insert(std::move(key)).second) continue;
      held.grow(96);
      return item;
    }
    return std::nullopt;
  }

 private:
  struct Before {
    bool operator()(const Value& a, const Value& b) const { return compare_keys(a, b) < 0; }
  };
  std::shared_ptr<Iterator> source_;
  const SortKey key_;
  std::set<Value, Before> seen_;
};

Value map_filter(Context& context, const Value& value, const Arguments& arguments) {
  if (arguments.positional.empty()) {
    const auto [attribute, otherwise] = bind<2>("map", arguments, {"attribute", "default"});
    const Value& path = required("map", "attribute", attribute);
    std::optional<Value> replacement;
    if (otherwise != nullptr && !otherwise->is(Kind::none)) replacement = *otherwise;
    return lazy(std::make_shared<AttributeMap>(context, value, path, std::move(replacement)));
  }
  const std::string& name = text("map", &arguments.positional[0]);
  const Filter* filter = find_filter(name);
  if (filter == nullptr) fail(ErrorKind::input, unknown_filter(name));
  return lazy(std::make_shared<FilterMap>(context, value, *filter, arguments));
}

// `skip`: arguments before the name of the test.
Value select(Context& context, const Value& value, const Arguments& arguments, Selection selection,
             std::size_t skip) {
  if (arguments.positional.size() > skip) {
    const std::string& name = text("select", &arguments.positional[skip]);
    selection.test = find_test(name);
    if (selection.test == nullptr) fail(ErrorKind::input, unknown_test(name));
    ++skip;
  }
  return lazy(std::make_shared<Selected>(context, value, std::move(selection), arguments, skip));
}

Value select_attribute(Context& context, const Value& value, const Arguments& arguments,
                       bool keeps) {
  if (arguments.positional.empty()) {
    fail(ErrorKind::input, "selectattr and rejectattr need the name of an attribute");
  }
  Selection selection{.path = split_path(context, arguments.positional[0]), .keeps = keeps};
  return select(context, value, arguments, std::move(selection), 1);
}

Value select_filter(Context& context, const Value& value, const Arguments& arguments) {
  return select(context, value, arguments, {.path = {}, .keeps = true}, 0);
}

Value reject_filter(Context& context, const Value& value, const Arguments& arguments) {
  return select(context, value, arguments, {.path = {}, .keeps = false}, 0);
}

Value selectattr_filter(Context& context, const Value& value, const Arguments& arguments) {
  return select_attribute(context, value, arguments, true);
}

Value rejectattr_filter(Context& context, const Value& value, const Arguments& arguments) {
  return select_attribute(context, value, arguments, false);
}

Value unique_filter(Context& context, const Value& value, const Arguments& arguments) {
  const auto [case_sensitive, attribute] =
      bind<2>("unique", arguments, {"case_sensitive", "attribute"});
  SortKey key(context, attribute, flag(case_sensitive, false));
  return lazy(std::make_shared<Unique>(context, value, std::move(key)));
}

constexpr std::array kLazyFilters = {
    Filter{"map", map_filter},
    Filter{"reject", reject_filter},
    Filter{"rejectattr", rejectattr_filter},
    Filter{"select", select_filter},
    Filter{"selectattr", selectattr_filter},
    Filter{"unique", unique_filter},
};

}  // namespace

std::span<const Filter> lazy_filters() { return kLazyFilters; }

}  // namespace trireme::text::jinja
