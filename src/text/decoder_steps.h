#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/decoder.h"

namespace trireme::text {

/// "<0x41>" is the byte 0x41; any other token stays as it is.
std::string byte_of_fallback_token(std::string token);

/// Without up to `begin` times `pattern` at the begin and up to `end` times at the end.
std::string strip_token(std::string token, std::string_view pattern, std::size_t begin,
                        std::size_t end);

/// The two steps on a text that comes in parts: each takes the next part and gives what is certain;
/// with `is_end` no more comes.
std::string strip_text(std::string part, bool is_end, std::string_view pattern, std::size_t begin,
                       std::size_t end, DecoderState::Step& state);
std::string replace_text(std::string part, bool is_end, std::string_view pattern,
                         std::string_view replacement, DecoderState::Step& state);

}  // namespace trireme::text
