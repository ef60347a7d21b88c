#pragma once

#include <cstddef>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trireme {

/// JSON whose objects keep the order of the text.
using Json = nlohmann::ordered_json;

/// What a text may hold at most before it is refused.
struct JsonLimits {
  std::size_t max_bytes = std::size_t{64} << 20;
  int max_depth = 64;
  bool exact_integers = false;  ///< an integer beyond 64 bits is an error, not the nearest float
};

/// What the JSON library says, as part of a sentence: without its own numbers of errors.
std::string json_error_text(const std::exception& error);

/// Parses one JSON document. Throws Error(input) that begins with `what` and says where the text is
/// wrong: not JSON, bad UTF-8, a key twice in one object, deeper or longer than the limits.
Json parse_json(std::string_view text, const std::string& what, const JsonLimits& limits = {});

}  // namespace trireme
