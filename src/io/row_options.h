#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "io/prompt_row.h"

namespace trireme::io {

/// What kind of column an option is in a prompt file.
enum class OptionKind : std::uint8_t { integer, number, flag, json };

struct OptionField {
  const char* name;
  OptionKind kind;
};

/// All options that a row can have, by the name they have in columns, root attributes and requests.
std::span<const OptionField> option_fields();

/// Sets one option from a value that was given for it. Returns what is wrong, which begins with the
/// value and says what was expected; empty if nothing is. `name` is one of option_fields().
std::string set_option(RowOptions& options, std::string_view name, const Json& value);

/// The options of sampling that are given, as an object of set_option()'s names and values.
Json sampling_as_json(const RowOptions& options);

/// What is wrong with options that are each in range; empty if nothing is.
std::string check_options(const RowOptions& options);

/// What is wrong with the messages of a chat: anything but an array of objects, at least one.
std::string check_messages(const Json& messages);

/// A value as an error message shows it: its JSON, cut if it is long.
std::string shown(const Json& value);

}  // namespace trireme::io
