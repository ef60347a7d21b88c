#include "text/jinja_lexer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "text/jinja_literals.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

// CRLF and CR become LF; one LF at the very end goes.
std::string normalized(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (std::size_t at = 0; at < source.size(); ++at) {
    if (source[at] != '\r') {
      result += source[at];
    } else {
      result += '\n';
      if (at + 1 < source.size() && source[at + 1] == '\n') ++at;
    }
  }
  if (result.ends_with('\n')) result.pop_back();
  return result;
}

bool begins_name(char32_t code_point) {
  return code_point == '_' ||
         u_hasBinaryProperty(static_cast<UChar32>(code_point), UCHAR_XID_START);
}

bool continues_name(char32_t code_point) {
  return u_hasBinaryProperty(static_cast<UChar32>(code_point), UCHAR_XID_CONTINUE);
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)), rest_(source_) {}

  std::vector<Token> run() {
    try {
      while (!rest_.empty()) text_and_tag();
    } catch (const Error& error) {
      fail(error.kind(), cat("line ", line_, ": ", error.what()), error.where());
    }
    add(TokenKind::end, {});
    return std::move(tokens_);
  }

 private:
  void text_and_tag();
  void add_text(std::string_view text, char sign, bool is_print);
  bool raw_block();
  void comment();
  void tag(TokenKind begin, TokenKind end, char bracket);
  bool tag_end(char bracket);
  void tag_token();
  bool number();
  bool name();
  void string();
  void symbol();
  void track_brackets(char symbol);

  void skip(std::size_t bytes);
  void skip_spaces();
  void skip_line_end();
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  const std::string source_;
  std::string_view rest_;
  std::uint32_t line_ = 1;
  bool at_line_begin_ = true;  // nothing but a line end, or nothing, stands before the rest
  std::string open_;           // the closing brackets that are awaited
  std::vector<Token> tokens_;
};

void Lexer::skip(std::size_t bytes) {
  const std::string_view skipped = rest_.substr(0, bytes);
  line_ += static_cast<std::uint32_t>(std::ranges::count(skipped, '\n'));
  if (!skipped.empty()) at_line_begin_ = skipped.back() == '\n';
  rest_.remove_prefix(bytes);
}

void Lexer::skip_spaces() {
  std::size_t end = 0;
  while (end < rest_.size()) {
    std::size_t after = end;
    if (!is_space(next_code_point(rest_, after))) break;
    end = after;
  }
  skip(end);
}

void Lexer::skip_line_end() {
  if (rest_.starts_with('\n')) skip(1);
}

// The text up to the next tag, and the tag.
void Lexer::text_and_tag() {
  std::size_t begin = 0;
  while ((begin = rest_.find('{', begin)) != std::string_view::npos) {
    const char next = begin + 1 < rest_.size() ? rest_[begin + 1] : ' ';
    if (next == '{' || next == '%' || next == '#') break;
    ++begin;
  }
  if (begin == std::string_view::npos) {
    add_text(rest_, ' ', true);
    rest_ = {};
    return;
  }
  const char bracket = rest_[begin + 1];
  const char after = begin + 2 < rest_.size() ? rest_[begin + 2] : ' ';
  const char sign = after == '-' || after == '+' ? after : ' ';
  add_text(rest_.substr(0, begin), sign, bracket == '{');
  skip(begin);
  if (bracket == '%' && raw_block()) return;
  skip(sign == ' ' ? 2 : 3);
  if (bracket == '#') {
    comment();
  } else if (bracket == '{') {
    tag(TokenKind::print_begin, TokenKind::print_end, '}');
  } else {
    tag(TokenKind::block_begin, TokenKind::block_end, '%');
  }
}

// Text before a tag, without the white space that the tag takes.
void Lexer::add_text(std::string_view text, char sign, bool is_print) {
  if (sign == '-') {
    while (!text.empty()) {
      std::size_t end = text.size();
      if (!is_space(previous_code_point(text, end))) break;
      text.remove_suffix(text.size() - end);
    }
  } else if (sign != '+' && !is_print) {
    const std::size_t line_begin = text.rfind('\n') + 1;  // 0 if there is none
    std::string_view before_tag = text.substr(line_begin);
    while (!before_tag.empty()) {
      std::size_t at = 0;
      if (!is_space(next_code_point(before_tag, at))) break;
      before_tag.remove_prefix(at);
    }
    if (before_tag.empty() && (line_begin > 0 || at_line_begin_)) text = text.substr(0, line_begin);
  }
  if (!text.empty()) add(TokenKind::text, std::string(text));
}

// {% raw %} ... {% endraw %}: text in which nothing is a tag.
bool Lexer::raw_block() {
  const auto tag_named = [](std::string_view text, std::string_view name) -> std::optional<Sides> {
    Sides dashes{false, false};
    std::size_t at = 2;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) dashes.left = text[at++] == '-';
    while (at < text.size() && is_space(static_cast<unsigned char>(text[at]))) ++at;
    if (!text.substr(at).starts_with(name)) return std::nullopt;
    at += name.size();
    while (at < text.size() && is_space(static_cast<unsigned char>(text[at]))) ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) dashes.right = text[at++] == '-';
    return text.substr(at).starts_with("%}") ? std::optional(dashes) : std::nullopt;
  };
  const auto opening = tag_named(rest_, "raw");
  if (!opening) return false;
  skip(rest_.find("%}") + 2);
  if (opening->right) skip_spaces();
  for (std::size_t end = rest_.find("{%"); end != std::string_view::npos;
       end = rest_.find("{%", end + 2)) {
    const auto closing = tag_named(rest_.substr(end), "endraw");
    if (!closing) continue;
    const bool keeps_blanks = end + 2 < rest_.size() && rest_[end + 2] == '+';
    add_text(rest_.substr(0, end), closing->left ? '-' : (keeps_blanks ? '+' : ' '), false);
    const std::size_t tag_end = rest_.find("%}", end);
    const bool keeps_line_end = rest_[tag_end - 1] == '+';
    skip(tag_end + 2);
    if (closing->right) {
      skip_spaces();
    } else if (!keeps_line_end) {
      skip_line_end();
    }
    return true;
  }
  fail(ErrorKind::input, "the tag 'raw' has no 'endraw'");
}

void Lexer::comment() {
  const std::size_t end = rest_.find("#}");
  if (end == std::string_view::npos) fail(ErrorKind::input, "a comment has no end ('#}')");
  const char sign = end > 0 ? rest_[end - 1] : ' ';
  skip(end + 2);
  if (sign == '-') {
    skip_spaces();
  } else if (sign != '+') {
    skip_line_end();
  }
}

void Lexer::tag(TokenKind begin, TokenKind end, char bracket) {
  add(begin, {});
  open_.clear();
  const std::uint32_t begin_line = line_;
  while (true) {
    skip_spaces();
    if (rest_.empty()) {
      line_ = begin_line;
      fail(ErrorKind::input, cat("the tag that begins here has no end ('", bracket, "}')"));
    }
    const std::uint32_t end_line = line_;
    if (open_.empty() && tag_end(bracket)) {
      tokens_.push_back({end, end_line, {}});
      return;
    }
    tag_token();
  }
}

// Skips "}}" or "%}" with its sign and the white space that it takes.
bool Lexer::tag_end(char bracket) {
  const std::string closing = {bracket, '}'};
  if (rest_.starts_with(closing)) {
    skip(2);
    if (bracket == '%') skip_line_end();
  } else if (rest_.starts_with('-') && rest_.substr(1).starts_with(closing)) {
    skip(3);
    skip_spaces();
  } else if (bracket == '%' && rest_.starts_with("+%}")) {
    skip(3);
  } else {
    return false;
  }
  return true;
}

void Lexer::tag_token() {
  if (number() || name()) return;
  if (rest_[0] == '"' || rest_[0] == '\'') {
    string();
  } else {
    symbol();
  }
}

bool Lexer::number() {
  const bool after_dot = tokens_.back().kind == TokenKind::symbol && tokens_.back().text == ".";
  NumberLiteral literal = read_number(rest_, after_dot);
  if (literal.size == 0) return false;
  add(literal.is_real ? TokenKind::real : TokenKind::integer, std::move(literal.digits));
  skip(literal.size);
  return true;
}

bool Lexer::name() {
  std::size_t end = 0;
  if (!begins_name(next_code_point(rest_, end))) return false;
  for (std::size_t at = end; at < rest_.size(); end = at) {
    if (!continues_name(next_code_point(rest_, at))) break;
  }
  add(TokenKind::name, std::string(rest_.substr(0, end)));
  skip(end);
  return true;
}

void Lexer::string() {
  std::size_t end = 1;
  while (end < rest_.size() && rest_[end] != rest_[0]) end += rest_[end] == '\\' ? 2 : 1;
  if (end >= rest_.size()) fail(ErrorKind::input, "a string has no end");
  add(TokenKind::string, unescape(rest_.substr(1, end - 1)));
  skip(end + 1);
}

void Lexer::symbol() {
  constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
  constexpr std::string_view kSingles = "+-/*%~[](){}><=.:|,";
  std::size_t size = 0;
  if (std::ranges::find(kPairs, rest_.substr(0, 2)) != kPairs.end()) {
    size = 2;
  } else if (kSingles.find(rest_[0]) != std::string_view::npos) {
    size = 1;
    track_brackets(rest_[0]);
  } else {
    next_code_point(rest_, size);
    fail(ErrorKind::input, cat("'", rest_.substr(0, size), "' cannot stand here"));
  }
  add(TokenKind::symbol, std::string(rest_.substr(0, size)));
  skip(size);
}

void Lexer::track_brackets(char symbol) {
  constexpr std::string_view kOpening = "([{";
  constexpr std::string_view kClosing = ")]}";
  const std::size_t opens = kOpening.find(symbol);
  if (opens != std::string_view::npos) {
    open_ += kClosing[opens];
  } else if (kClosing.find(symbol) != std::string_view::npos) {
    if (open_.empty() || open_.back() != symbol) {
      fail(ErrorKind::input, cat("'", symbol, "' closes nothing here"));
    }
    open_.pop_back();
  }
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::text:
      return "text";
    case TokenKind::print_begin:
      return "'{{'";
    case TokenKind::print_end:
      return "'}}'";
    case TokenKind::block_begin:
      return "'{%'";
    case TokenKind::block_end:
      return "'%}'";
    case TokenKind::string:
      return "a string";
    case TokenKind::end:
      return "the end of the template";
    case TokenKind::name:
    case TokenKind::integer:
    case TokenKind::real:
    case TokenKind::symbol:
      break;
  }
  return cat("'", clip(token.text), "'");
}

}  // namespace trireme::text::jinja
