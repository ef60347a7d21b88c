#pragma once

#include <string>
#include <string_view>

namespace trireme::text {

/// Published tokenizers write their patterns for Oniguruma in Ruby's syntax; this writes the same
/// for PCRE2: \w and \b take letters, marks, decimal digits and connectors, \s the property
/// White_Space, \h a hexadecimal digit, \uXXXX a character. In a class, \W, \S and \H keep PCRE2's
/// meaning, which differs in marks and U+180E. Throws Error(checkpoint) that begins with `where`
/// for a class inside a class and for &&, which PCRE2 lacks. What is wrong in both syntaxes stays
/// for PCRE2 to refuse.
std::string to_pcre2_syntax(std::string_view pattern, const std::string& where);

}  // namespace trireme::text
