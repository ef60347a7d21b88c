#pragma once

#include <string>

#include "io/prompt_row.h"

namespace trireme::io {

/// Fills prompt and options of `row` from a request: the `body` of an OpenAI batch line. What the
/// request says replaces what `row.options` has. Returns what is wrong, naming the field; empty if
/// nothing is.
std::string parse_request(const Json& request, PromptRow& row);

/// The same for an object that holds options alone.
std::string parse_request_options(const Json& request, RowOptions& options);

}  // namespace trireme::io
