#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trireme::text::jinja {

/// A number as it begins a text.
struct NumberLiteral {
  std::size_t size = 0;  ///< bytes it takes; 0: the text does not begin with a number
  bool is_real = false;
  std::string digits;  ///< decimal, without underscores
};

/// Reads 12, 1_000, 0x1f, 0b11, 0o17, 1.5, 1e-3. `after_dot`: no float can begin here (x.0.1).
/// Throws Error(input) for integers beyond 64 bits.
NumberLiteral read_number(std::string_view text, bool after_dot);

/// The inside of a string literal with its escapes resolved, as Python has them. Throws
/// Error(input) for escapes that are cut short or give no character.
std::string unescape(std::string_view inside);

}  // namespace trireme::text::jinja
