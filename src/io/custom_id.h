#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace trireme::io {

/// The name that a user gave to a row: nothing, an integer or a string, as the prompt file has it.
using CustomId = std::variant<std::monostate, std::int64_t, std::string>;

/// The id as text; empty where there is none.
std::string to_text(const CustomId& id);

}  // namespace trireme::io
