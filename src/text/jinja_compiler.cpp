#include "text/jinja_compiler.h"

#include "base/error.h"
#include "text/unicode.h"

namespace trireme::text::jinja {

Program Compiler::compile() {
  try {
    program_.shapes.emplace_back();  // shape 0: no arguments
    program_.loop_name = static_cast<std::uint32_t>(name("loop"));
    body({});
    emit(Op::stop);
  } catch (const Error& error) {
    fail(error.kind(), cat("line ", current().line, ": ", error.what()), error.where());
  }
  refuse_what_is_always_reached();
  program_.code = std::move(code_);
  return std::move(program_);
}

bool Compiler::is_symbol(std::string_view text) const {
  return current().kind == TokenKind::symbol && current().text == text;
}

bool Compiler::is_name(std::string_view text) const {
  return current().kind == TokenKind::name && current().text == text;
}

bool Compiler::is_any_name(Names names) const {
  return std::ranges::any_of(names, [this](std::string_view text) { return is_name(text); });
}

bool Compiler::skip_symbol(std::string_view text) {
  const bool skips = is_symbol(text);
  if (skips) ++next_;
  return skips;
}

bool Compiler::skip_name(std::string_view text) {
  const bool skips = is_name(text);
  if (skips) ++next_;
  return skips;
}

void Compiler::expect_symbol(std::string_view text) {
  if (!skip_symbol(text)) refuse(cat("'", text, "' is expected, not ", describe(current())));
}

void Compiler::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) refuse(cat(what, " is expected, not ", describe(current())));
  ++next_;
}

std::string Compiler::take_name(std::string_view what) {
  if (current().kind != TokenKind::name) {
    refuse(cat(what, " is expected, not ", describe(current())));
  }
  return take().text;
}

void Compiler::refuse(const std::string& message) const { fail(ErrorKind::input, message); }

void Compiler::refuse_depth() const {
  refuse(cat("blocks or expressions are nested deeper than ", kMaxNesting, " levels"));
}

std::size_t Compiler::emit(Op op, std::int32_t a, std::int32_t b) {
  code_.push_back({op, a, b, tokens_[next_ > 0 ? next_ - 1 : 0].line});
  note_name(code_.back());
  return code_.size() - 1;
}

void Compiler::append(const Code& code) {
  for (const Instruction& instruction : code) {
    code_.push_back(instruction);
    note_name(instruction);
  }
}

void Compiler::note_name(const Instruction& instruction) {
  const bool names = instruction.op == Op::load || instruction.op == Op::store ||
                     instruction.op == Op::store_attribute;
  if (!names || inner_scopes_ > 0) return;
  const auto idx = static_cast<std::size_t>(instruction.a);
  if (is_noted_[idx]) return;
  is_noted_[idx] = true;
  program_.hidden[idx] = instruction.op == Op::store && open_ifs_ == 0;
}

// Filters and tests that are not known are errors of the template, but inside of `if` (block or
// inline) only if they are reached, as in Jinja: published templates ask there for filters that not
// everyone has.
void Compiler::emit_unknown(Op op) {
  emit(op, constant(make_constant(current().text)), open_ifs_ > 0 ? 1 : 0);
}

void Compiler::refuse_what_is_always_reached() const {
  for (const Instruction& instruction : code_) {
    if (!is_unknown(instruction.op) || instruction.b != 0) continue;
    const Value& name = program_.constants[static_cast<std::size_t>(instruction.a)];
    const std::string what = instruction.op == Op::unknown_filter ? unknown_filter(text_of(name))
                                                                  : unknown_test(text_of(name));
    fail(ErrorKind::input, cat("line ", instruction.line, ": ", what));
  }
}

Compiler::Code Compiler::cut(std::size_t begin) {
  Code tail(code_.begin() + static_cast<std::ptrdiff_t>(begin), code_.end());
  code_.resize(begin);
  return tail;
}

void Compiler::land(std::size_t jump) {
  code_[jump].a = static_cast<std::int32_t>(code_.size() - jump);
}

void Compiler::jump_back(std::size_t to) {
  emit(Op::jump, -static_cast<std::int32_t>(code_.size() - to));
}

std::int32_t Compiler::constant(Value value) {
  program_.constants.push_back(std::move(value));
  return static_cast<std::int32_t>(program_.constants.size() - 1);
}

std::int32_t Compiler::name(const std::string& text) {
  const auto next = static_cast<std::uint32_t>(program_.names.size());
  const auto [found, is_new] = program_.name_idx.emplace(text, next);
  if (is_new) {
    program_.names.push_back(text);
    program_.hidden.push_back(false);
    is_noted_.push_back(false);
  }
  return static_cast<std::int32_t>(found->second);
}

Program compile(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    fail(ErrorKind::input, cat("line 1: the template has ", source.size(), " bytes, at most ",
                               kMaxSourceBytes, " are read"));
  }
  if (const auto offset = invalid_utf8_offset(source)) {
    fail(ErrorKind::input, cat("line 1: the template is not UTF-8 (byte ", *offset, ")"));
  }
  return Compiler(tokenize(source)).compile();
}

}  // namespace trireme::text::jinja
