#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace trireme::text::jinja {

/// Python's str() of a value, appended: nothing for Undefined. Throws for what has no text that
/// could be of use (functions, lazy filters).
void append_text(Budget& budget, std::string& out, const Value& value);
std::string to_text(Budget& budget, const Value& value);

/// Python's repr(): strings in quotes with escapes.
void append_repr(Budget& budget, std::string& out, const Value& value);

/// How json.dumps writes; the defaults are those of the filter tojson.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  ///< of one level; none: all in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// Throws for values that JSON cannot hold, Undefined among them.
std::string to_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace trireme::text::jinja
