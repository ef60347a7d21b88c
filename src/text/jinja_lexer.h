#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text::jinja {

enum class TokenKind : std::uint8_t {
  text,         ///< outside of tags, white space already trimmed
  print_begin,  ///< {{
  print_end,    ///< }}
  block_begin,  ///< {%
  block_end,    ///< %}
  name,
  string,   ///< its text is decoded
  integer,  ///< in decimal, within 64 bits
  real,
  symbol,  ///< an operator or a bracket
  end      ///< of the template
};

struct Token {
  TokenKind kind;
  std::uint32_t line;  ///< from 1
  std::string text;
};

/// Cuts a template into tokens, the last one `end`. Comments are left out; line ends are LF. Throws
/// Error(input) beginning with "line N: ".
std::vector<Token> tokenize(std::string_view source);

/// How a token is called in an error.
std::string describe(const Token& token);

}  // namespace trireme::text::jinja
