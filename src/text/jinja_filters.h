#pragma once

#include <span>

#include "text/jinja_call.h"

namespace trireme::text::jinja {

// The filters by what they work on; find_filter searches all of these.
std::span<const Filter> text_filters();
std::span<const Filter> number_filters();
std::span<const Filter> list_filters();
std::span<const Filter> lazy_filters();

/// The value if it is a string (its mark kept), else its text as a string.
Value as_string(Context& context, const Value& value);

/// How sort, unique, min and max see an item: its attribute, in lower case unless case matters.
class SortKey {
 public:
  SortKey(Context& context, const Value* attribute, bool case_sensitive);
  Value of(Context& context, const Value& item) const;

 private:
  std::vector<Value> path_;
  bool case_sensitive_;
};

}  // namespace trireme::text::jinja
