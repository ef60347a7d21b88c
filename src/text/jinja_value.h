#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_budget.h"

namespace trireme::text::jinja {

struct Context;
struct Function;
struct Method;
struct Scope;

/// What a value is; the words of Python in brackets where they differ.
enum class Kind : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,  ///< 64 bits; beyond is an error
  real,
  string,
  list,
  tuple,
  dict,
  range,
  view,        ///< keys(), values() or items() of a dict
  iterator,    ///< what a lazy filter gives; can be walked once
  name_space,  ///< namespace(): the only value that changes
  loop,
  macro,
  function,
  method  ///< of a string or a dict, with the value it belongs to
};

/// What values with memory share. `depth` is 0 for a text and one more than the deepest part for
/// what has parts; it is limited, so that walking and destroying a value needs a bounded stack.
struct Object {
  Object(Budget* budget, std::size_t bytes) : held(budget, bytes + kOverhead) {}

  static constexpr std::size_t kOverhead = 112;  ///< the object itself and its reference counts

  Held held;
  int depth = 0;
};

/// A value of a template. Cheap to copy; shares what it refers to, which never changes but for
/// namespaces, iterators and loops.
class Value {
 public:
  Value() = default;  ///< Undefined
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}

  static Value none() { return Value(Kind::none, nullptr); }
  static Value boolean(bool value) { return Value(Kind::boolean, value ? 1 : 0); }
  static Value integer(std::int64_t value) { return Value(Kind::integer, value); }
  static Value real(double value) {
    Value result(Kind::real, nullptr);
    result.real_ = value;
    return result;
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_integral() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_integral() || kind_ == Kind::real; }

  std::int64_t as_integer() const { return integer_; }  ///< of an integer or a boolean
  double as_real() const {                              ///< of any number
    return kind_ == Kind::real ? real_ : static_cast<double>(integer_);
  }
  template <typename T>
  T& as() const {
    return static_cast<T&>(*object_);
  }
  const std::shared_ptr<Object>& object() const { return object_; }
  int depth() const { return object_ ? object_->depth : 0; }

 private:
  Value(Kind kind, std::int64_t integer) : kind_(kind), integer_(integer) {}

  Kind kind_ = Kind::undefined;
  union {
    std::int64_t integer_ = 0;
    double real_;
  };
  std::shared_ptr<Object> object_;
};

/// Why a value is undefined, for the error when it is used.
struct Missing : Object {
  Missing(Budget* budget, std::string why) : Object(budget, why.size()), reason(std::move(why)) {}
  const std::string reason;
};

struct String : Object {
  String(Budget* budget, std::string utf8, bool is_safe);
  bool is_ascii() const { return length == text.size(); }

  const std::string text;    ///< valid UTF-8
  const std::size_t length;  ///< code points
  const bool safe;           ///< marked by the filter `safe`
};

/// A list or a tuple.
struct List : Object {
  List(Budget* budget, std::vector<Value> values);
  const std::vector<Value> items;
};

/// Pairs in the order they were put in; no key twice.
struct Dict : Object {
  using Pair = std::pair<Value, Value>;
  Dict(Budget* budget, std::vector<Pair> pairs);

  /// The value of a key; null if there is none or it is of a kind that cannot be a key.
  const Value* find(Budget& budget, const Value& key) const;

  const std::vector<Pair> items;

 private:
  mutable std::vector<std::uint32_t> order_;  // places in `items` by key; made when first needed
};

struct Range : Object {
  Range(Budget* budget, std::int64_t start_, std::int64_t step_, std::size_t size_)
      : Object(budget, 0), start(start_), step(step_), size(size_) {}
  Value at(std::size_t idx) const {
    return Value::integer(start + static_cast<std::int64_t>(idx) * step);
  }
  const std::int64_t start;
  const std::int64_t step;
  const std::size_t size;
};

enum class ViewKind : std::uint8_t { keys, values, items };

struct View : Object {
  View(Budget* budget, Value dict, ViewKind kind);
  const Dict& dict() const { return owner.as<Dict>(); }
  Value at(Budget& budget, std::size_t idx) const;
  const Value owner;
  const ViewKind what;
};

struct Namespace : Object {
  explicit Namespace(Budget* budget) : Object(budget, sizeof(Namespace)) {}
  void set(std::string_view name, Value value);
  std::map<std::string, Value, std::less<>> values;
};

struct Macro : Object {
  Macro(Budget* budget, std::uint32_t number, std::weak_ptr<Scope> defined_in)
      : Object(budget, 0), idx(number), scope(std::move(defined_in)) {}
  const std::uint32_t idx;           ///< in Program::macros
  const std::weak_ptr<Scope> scope;  ///< weak: the scope holds the macro
};

struct FunctionObject : Object {
  FunctionObject(Budget* budget, const Function& which) : Object(budget, 0), function(which) {}
  const Function& function;
};

struct MethodObject : Object {
  MethodObject(Budget* budget, Value receiver, const Method& which);
  const Value self;
  const Method& method;
};

Value make_undefined(Budget& budget, std::string reason);
Value make_string(Budget& budget, std::string text, bool safe = false);
/// A string of the template itself, which outlives every rendering.
Value make_constant(std::string text);
Value make_list(Budget& budget, std::vector<Value> items);
Value make_tuple(Budget& budget, std::vector<Value> items);
/// Of equal keys the first stays and takes the last value, as in Python. Throws if a key cannot be
/// one.
Value make_dict(Budget& budget, std::vector<Dict::Pair> pairs);

inline const std::string& text_of(const Value& value) { return value.as<String>().text; }
inline const std::vector<Value>& items_of(const Value& value) { return value.as<List>().items; }
inline bool is_sequence(const Value& value) {
  return value.is(Kind::list) || value.is(Kind::tuple);
}

/// Python's name of the type: "str", "NoneType", "dict", ...
std::string_view type_name(const Value& value);

/// Why this undefined value is undefined, for an error.
std::string reason_of(const Value& value);

/// A total order of the values that can be keys (none, numbers, strings, Undefined); equal as in
/// Python: 1, 1.0 and true are one key. Throws for others, tuples too.
int compare_keys(const Value& a, const Value& b);

/// Steps for finding `key` among `count` others; long texts cost more.
void spend_on_key(Budget& budget, const Value& key, std::size_t count);

/// Numbers by value, exactly, also an integer with a float. A NaN counts as greatest.
int compare_numbers(const Value& a, const Value& b);

}  // namespace trireme::text::jinja
