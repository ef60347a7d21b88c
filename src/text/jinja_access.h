#pragma once

#include <vector>

#include "text/jinja_context.h"
#include "text/jinja_value.h"

namespace trireme::text::jinja {

// Reading inside values. What is not there is Undefined; reading inside Undefined throws. Only data
// and the methods of the table can be reached: there is no way to the program.

/// value.name: a method first, then a key. A method that would change the value is Undefined; one
/// that Python has and this engine does not throws by name.
Value get_attribute(Context& context, const Value& value, const Value& name);

/// value[key]: an item first, then an attribute.
Value get_item(Context& context, const Value& value, const Value& key);

struct SliceBounds {
  const Value& start;  ///< each an integer or none
  const Value& stop;
  const Value& step;
  bool undefined_if_wrong = false;  ///< what cannot be sliced gives Undefined instead of an error
};

/// value[start:stop:step] of a text, list, tuple or range. Throws for other values, for bounds that
/// are no integers and for a step of 0.
Value get_slice(Context& context, const Value& value, const SliceBounds& bounds);

/// The parts of "a.b.0", as the filters' `attribute` has it; a number counts in lists.
std::vector<Value> split_path(Context& context, const Value& attribute);

/// value[part][part]...; where something on the way is Undefined it becomes `otherwise`, if given.
Value follow_path(Context& context, const Value& value, const std::vector<Value>& path,
                  const Value* otherwise = nullptr);

}  // namespace trireme::text::jinja
