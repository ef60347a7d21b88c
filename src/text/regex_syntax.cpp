#include "text/regex_syntax.h"

#include <algorithm>
#include <cstddef>

#include "base/error.h"

namespace trireme::text {
namespace {

// Letters, marks, decimal digits, connectors, and, of all other numbers, those of Latin-1.
constexpr std::string_view kWordClass =
    R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
constexpr std::string_view kSpaceClass = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kHexClass = "0-9a-fA-F";

/// \b and \B: a word character on one side only, or on both sides or none.
std::string boundary(bool is_negative) {
  const std::string behind_word = cat("(?<=[", kWordClass, "])");
  const std::string behind_other = cat("(?<![", kWordClass, "])");
  const std::string before_word = cat("(?=[", kWordClass, "])");
  const std::string before_other = cat("(?![", kWordClass, "])");
  return cat("(?:", behind_word, is_negative ? before_word : before_other, "|", behind_other,
             is_negative ? before_other : before_word, ")");
}

/// What an escape of one letter is as the members of a class; empty if it is no class.
std::string_view class_of_escape(char letter) {
  switch (letter) {
    case 'w':
    case 'W':
      return kWordClass;
    case 's':
    case 'S':
      return kSpaceClass;
    case 'h':
    case 'H':
      return kHexClass;
    default:
      return {};
  }
}

bool is_hex(std::string_view digits) {
  return digits.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

/// Translates the escape that begins `rest` (backslash and at least one more); gives its length.
std::size_t translate_escape(std::string_view rest, bool is_in_class, std::string& out) {
  const char letter = rest[1];
  if (letter == 'u' && rest.size() >= 6 && is_hex(rest.substr(2, 4))) {
    out += cat("\\x{", rest.substr(2, 4), "}");
    return 6;
  }
  if ((letter == 'b' || letter == 'B') && !is_in_class) {
    out += boundary(letter == 'B');
    return 2;
  }
  const std::string_view members = class_of_escape(letter);
  const bool is_negative = letter >= 'A' && letter <= 'Z';
  if (members.empty() || (is_in_class && is_negative)) {
    out += rest.substr(0, 2);
  } else if (is_in_class) {
    out += members;
  } else {
    out += cat(is_negative ? "[^" : "[", members, "]");
  }
  return 2;
}

/// The begin of a class: "[", "[^", with the "]" that may follow as a member.
std::size_t class_begin_bytes(std::string_view rest) {
  const std::size_t num_bytes = rest.starts_with("[^") ? 2 : 1;
  return num_bytes + (rest.substr(num_bytes).starts_with(']') ? 1 : 0);
}

}  // namespace

std::string to_pcre2_syntax(std::string_view pattern, const std::string& where) {
  std::string out;
  bool is_in_class = false;
  for (std::size_t position = 0; position < pattern.size();) {
    const std::string_view rest = pattern.substr(position);
    if (rest[0] == '\\' && rest.size() > 1) {
      position += translate_escape(rest, is_in_class, out);
      continue;
    }
    std::size_t num_bytes = 1;
    if (!is_in_class && rest[0] == '[') {
      is_in_class = true;
      num_bytes = class_begin_bytes(rest);
    } else if (is_in_class && rest.starts_with("[:")) {
      num_bytes = std::min(rest.find(']'), rest.size() - 1) + 1;
    } else if (is_in_class && (rest[0] == '[' || rest.starts_with("&&"))) {
      fail(ErrorKind::checkpoint,
           cat(where, ": \"", rest.substr(0, rest[0] == '[' ? 1 : 2), "\" inside a class, at byte ",
               position, " of the pattern, is not supported"));
    } else if (is_in_class && rest[0] == ']') {
      is_in_class = false;
    }
    out += rest.substr(0, num_bytes);
    position += num_bytes;
  }
  return out;
}

}  // namespace trireme::text
