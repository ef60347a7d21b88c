#include "text/jinja_literals.h"

#include <charconv>
#include <cstdint>

#include "base/error.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

bool is_digit(char byte, int base) {
  const char lower = static_cast<char>(byte | 0x20);
  const int value = byte >= '0' && byte <= '9'     ? byte - '0'
                    : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                   : 99;
  return value < base;
}

// Digits from `at` on, single underscores between them allowed; where they end.
std::size_t skip_digits(std::string_view text, std::size_t at, int base) {
  while (at < text.size()) {
    if (is_digit(text[at], base)) {
      ++at;
    } else if (text[at] == '_' && at > 0 && is_digit(text[at - 1], base) && at + 1 < text.size() &&
               is_digit(text[at + 1], base)) {
      at += 2;
    } else {
      break;
    }
  }
  return at;
}

std::string without_underscores(std::string_view text) {
  std::string result;
  for (const char byte : text) {
    if (byte != '_') result += byte;
  }
  return result;
}

// Where the fraction and the exponent of a float end; `at` if there are none.
std::size_t skip_fraction(std::string_view text, std::size_t at) {
  std::size_t end = at;
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1], 10)) {
    end = skip_digits(text, end + 1, 10);
  }
  if (end < text.size() && (text[end] | 0x20) == 'e') {
    std::size_t digits = end + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
    const std::size_t exponent_end = skip_digits(text, digits, 10);
    if (exponent_end > digits) end = exponent_end;
  }
  return end;
}

NumberLiteral read_based(std::string_view text, int base) {
  NumberLiteral literal;
  literal.size = skip_digits(text, 2, base);
  if (literal.size == 2) return {};
  const std::string digits = without_underscores(text.substr(2, literal.size - 2));
  std::int64_t value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (parsed.ec != std::errc()) fail(ErrorKind::input, "an integer beyond 64 bits");
  literal.digits = std::to_string(value);
  return literal;
}

int named_base(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return 10;
  const char letter = static_cast<char>(text[1] | 0x20);
  return letter == 'x' ? 16 : (letter == 'o' ? 8 : (letter == 'b' ? 2 : 10));
}

// The code point of `count` hexadecimal digits at `at`, which moves behind them.
char32_t read_hex(std::string_view inside, std::size_t& at, std::size_t count) {
  std::uint32_t value = 0;
  const std::string_view digits = inside.substr(at, count);
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  const bool is_whole = digits.size() == count && parsed.ptr == digits.data() + count;
  if (!is_whole || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    fail(ErrorKind::input, cat("a string has the escape '\\", inside.substr(at - 1, count + 1),
                               "', which gives no character"));
  }
  at += count;
  return value;
}

char32_t read_octal(std::string_view inside, std::size_t& at) {
  char32_t value = 0;
  for (int digits = 0; digits < 3 && at < inside.size() && is_digit(inside[at], 8); ++digits) {
    value = value * 8 + static_cast<char32_t>(inside[at++] - '0');
  }
  return value;
}

// One escape; `at` stands behind the backslash and moves behind the escape.
void append_escape(std::string& out, std::string_view inside, std::size_t& at) {
  constexpr std::string_view kLetters = "abfnrtv\\'\"";
  constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
  const char letter = inside[at];
  const std::size_t known = kLetters.find(letter);
  if (known != std::string_view::npos) {
    out += kMeanings[known];
    ++at;
  } else if (is_digit(letter, 8)) {
    append_utf8(out, read_octal(inside, at));
  } else if (letter == 'x' || letter == 'u' || letter == 'U') {
    ++at;
    append_utf8(out, read_hex(inside, at, letter == 'x' ? 2 : (letter == 'u' ? 4 : 8)));
  } else if (letter == 'N') {
    fail(ErrorKind::input,
         "a string has the escape '\\N' (a character by its name), which is not "
         "supported");
  } else if (letter == '\n') {
    ++at;  // the string goes on in the next line
  } else {
    out += '\\';
  }
}

}  // namespace

NumberLiteral read_number(std::string_view text, bool after_dot) {
  if (text.empty() || !is_digit(text[0], 10)) return {};
  const int base = named_base(text);
  if (base != 10) {
    NumberLiteral literal = read_based(text, base);
    if (literal.size > 0) return literal;
  }
  NumberLiteral literal;
  const std::size_t whole_end = skip_digits(text, 0, 10);
  const std::size_t end = after_dot ? whole_end : skip_fraction(text, whole_end);
  literal.is_real = end > whole_end;
  literal.size = end;
  literal.digits = without_underscores(text.substr(0, end));
  if (literal.is_real) return literal;
  std::int64_t value = 0;
  const char* digits = literal.digits.data();
  const auto parsed = std::from_chars(digits, digits + literal.digits.size(), value);
  if (parsed.ec != std::errc()) {
    fail(ErrorKind::input, cat("the integer ", literal.digits.substr(0, 40), " is beyond 64 bits"));
  }
  if (value != 0 && text[0] == '0') {
    fail(ErrorKind::input, cat("the integer ", literal.digits.substr(0, 40), " begins with 0"));
  }
  return literal;
}

std::string unescape(std::string_view inside) {
  std::string result;
  for (std::size_t at = 0; at < inside.size();) {
    if (inside[at] != '\\') {
      result += inside[at++];
    } else {
      ++at;
      append_escape(result, inside, at);
    }
  }
  return result;
}

}  // namespace trireme::text::jinja
