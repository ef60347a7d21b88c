// What follows a value: attributes, items, calls, filters and tests.

#include <charconv>

#include "base/error.h"
#include "text/jinja_compiler.h"

namespace trireme::text::jinja {

void Compiler::postfix() {
  while (true) {
    if (skip_symbol(".")) {
      dot();
    } else if (is_symbol("[")) {
      subscript();
    } else if (is_symbol("(")) {
      emit(Op::call, arguments());
    } else {
      return;
    }
  }
}

void Compiler::filters_and_tests() {
  while (true) {
    if (skip_symbol("|")) {
      filter();
    } else if (skip_name("is")) {
      test();
    } else if (is_symbol("(")) {
      emit(Op::call, arguments());
    } else {
      return;
    }
  }
}

void Compiler::filter() {
  if (current().kind != TokenKind::name) {
    refuse(cat("the name of a filter is expected, not ", describe(current())));
  }
  const Filter* filter = find_filter(current().text);
  if (filter == nullptr) emit_unknown(Op::unknown_filter);
  ++next_;
  const std::int32_t shape = is_symbol("(") ? arguments() : 0;
  emit(Op::filter, shape, static_cast<std::int32_t>(program_.filters.size()));
  program_.filters.push_back(filter);
}

void Compiler::test() {
  const bool is_negated = skip_name("not");
  if (current().kind != TokenKind::name) {
    refuse(cat("the name of a test is expected, not ", describe(current())));
  }
  const Test* test = find_test(current().text);
  if (test == nullptr) emit_unknown(Op::unknown_test);
  ++next_;
  std::int32_t shape = 0;
  if (is_symbol("(")) {
    shape = arguments();
  } else if (test_has_argument()) {
    primary();
    postfix();
    shape = shape_of({1, {}});
  }
  emit(Op::test, shape, static_cast<std::int32_t>(program_.tests.size()));
  program_.tests.push_back(test);
  if (is_negated) emit(Op::logical_not);
}

// A test takes one argument without parentheses: `x is divisibleby 3`.
bool Compiler::test_has_argument() const {
  switch (current().kind) {
    case TokenKind::string:
    case TokenKind::integer:
    case TokenKind::real:
      return true;
    case TokenKind::name:
      if (is_name("is")) refuse("tests cannot be chained with 'is'");
      return !is_any_name({"else", "or", "and", "if", "in", "not"});
    default:
      return is_symbol("[") || is_symbol("{");
  }
}

void Compiler::dot() {
  if (current().kind == TokenKind::integer) {
    std::int64_t idx = 0;
    const std::string& text = current().text;
    std::from_chars(text.data(), text.data() + text.size(), idx);
    ++next_;
    emit(Op::constant, constant(Value::integer(idx)));
    emit(Op::item);
    return;
  }
  const std::string attribute = take_name("the name of an attribute");
  emit(Op::attribute, constant(make_constant(attribute)));
}

void Compiler::subscript() {
  expect_symbol("[");
  const bool is_slice = slice_or_index();
  if (is_symbol(",")) refuse("several subscripts in one pair of brackets are not supported");
  expect_symbol("]");
  if (is_slice) {
    emit(Op::slice, ends_with_constants(4) ? 1 : 0);
  } else {
    emit(Op::item);
  }
}

// Jinja computes what is constant when it reads the template, by other rules: a slice that is an
// error otherwise is Undefined there.
bool Compiler::ends_with_constants(std::size_t count) const {
  const auto is_constant = [](const Instruction& last) { return last.op == Op::constant; };
  return code_.size() >= count &&
         std::all_of(code_.end() - static_cast<std::ptrdiff_t>(count), code_.end(), is_constant);
}

// Puts one index, or start, stop and step of a slice.
bool Compiler::slice_or_index() {
  if (is_symbol("]")) refuse("an index is expected, not ']'");
  if (is_symbol(":")) {
    emit(Op::constant, constant(Value::none()));
  } else {
    expression();
    if (!is_symbol(":")) return false;
  }
  expect_symbol(":");
  slice_bound(true);
  slice_bound(skip_symbol(":"));
  return true;
}

void Compiler::slice_bound(bool may_be_given) {
  if (!may_be_given || is_symbol(":") || is_symbol("]") || is_symbol(",")) {
    emit(Op::constant, constant(Value::none()));
  } else {
    expression();
  }
}

std::int32_t Compiler::arguments() {
  expect_symbol("(");
  CallShape shape;
  bool is_first = true;
  while (!is_symbol(")")) {
    if (!is_first) expect_symbol(",");
    is_first = false;
    if (is_symbol(")")) break;
    if (is_symbol("*") || is_symbol("**")) {
      refuse(cat("arguments with '", current().text, "' are not supported"));
    }
    const bool is_named = current().kind == TokenKind::name &&
                          following().kind == TokenKind::symbol && following().text == "=";
    if (is_named) {
      shape.names.push_back(take().text);
      ++next_;
    } else if (shape.names.empty()) {
      ++shape.num_positional;
    } else {
      refuse("an argument without a name stands behind one with a name");
    }
    expression();
  }
  expect_symbol(")");
  return shape_of(std::move(shape));
}

std::int32_t Compiler::shape_of(CallShape shape) {
  if (shape.num_positional == 0 && shape.names.empty()) return 0;
  program_.shapes.push_back(std::move(shape));
  return static_cast<std::int32_t>(program_.shapes.size() - 1);
}

}  // namespace trireme::text::jinja
