// What stands inside of tags, from the loosest operator to the tightest.

#include <array>
#include <charconv>

#include "base/error.h"
#include "text/jinja_compiler.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {

bool Compiler::at_tuple_end(Names ends) const {
  return current().kind == TokenKind::print_end || current().kind == TokenKind::block_end ||
         is_symbol(")") || is_any_name(ends);
}

void Compiler::tuple(Conditional allowed, Names ends) {
  std::int32_t count = 0;
  bool is_tuple = false;
  while (!at_tuple_end(ends)) {
    if (allowed == Conditional::yes) {
      expression();
    } else {
      disjunction();
    }
    ++count;
    if (!skip_symbol(",")) break;
    is_tuple = true;
  }
  if (count == 0) refuse(cat("an expression is expected, not ", describe(current())));
  if (is_tuple) emit(Op::tuple, count);
}

void Compiler::expression() {
  const Level level(*this);
  const std::size_t begin = code_.size();
  disjunction();
  conditional_rest(begin);
}

// `VALUE if CONDITION else OTHER`: the value is compiled when the condition is read, so their code
// changes places.
void Compiler::conditional_rest(std::size_t begin) {
  int rounds = 0;
  while (skip_name("if")) {
    if (++rounds > kMaxNesting) refuse_depth();
    const std::size_t condition = code_.size();
    ++open_ifs_;
    disjunction();
    emit(Op::jump_if_false);
    const std::size_t condition_size = code_.size() - condition;
    const auto at = [this](std::size_t idx) {
      return code_.begin() + static_cast<std::ptrdiff_t>(idx);
    };
    std::rotate(at(begin), at(condition), code_.end());
    for (auto instruction = at(begin); instruction != code_.end(); ++instruction) {
      if (is_unknown(instruction->op)) instruction->b = 1;
    }
    const std::size_t jump_to_end = emit(Op::jump);
    land(begin + condition_size - 1);
    if (skip_name("else")) {
      expression();
    } else {
      emit(Op::constant, constant(Value()));
    }
    land(jump_to_end);
    --open_ifs_;
  }
}

void Compiler::disjunction() {
  conjunction();
  while (skip_name("or")) {
    const std::size_t jump = emit(Op::jump_if_true_or_pop);
    conjunction();
    land(jump);
  }
}

void Compiler::conjunction() {
  negation();
  while (skip_name("and")) {
    const std::size_t jump = emit(Op::jump_if_false_or_pop);
    negation();
    land(jump);
  }
}

void Compiler::negation() {
  if (!skip_name("not")) {
    comparison();
    return;
  }
  const Level level(*this);
  negation();
  emit(Op::logical_not);
}

std::optional<Comparison> Compiler::comparison_ahead(std::size_t& num_tokens) const {
  constexpr std::array<std::string_view, 6> kSymbols = {"==", "!=", "<", "<=", ">", ">="};
  num_tokens = 1;
  if (current().kind == TokenKind::symbol) {
    const auto found = std::ranges::find(kSymbols, current().text);
    if (found == kSymbols.end()) return std::nullopt;
    return static_cast<Comparison>(found - kSymbols.begin());
  }
  if (is_name("in")) return Comparison::in;
  num_tokens = 2;
  const bool is_not_in =
      is_name("not") && following().kind == TokenKind::name && following().text == "in";
  return is_not_in ? std::optional(Comparison::not_in) : std::nullopt;
}

// a < b < c compares b twice but computes it once.
void Compiler::comparison() {
  sum();
  std::vector<std::size_t> jumps_to_end;
  std::size_t num_tokens = 0;
  auto comparison = comparison_ahead(num_tokens);
  while (comparison) {
    next_ += num_tokens;
    sum();
    const auto number = static_cast<std::int32_t>(*comparison);
    comparison = comparison_ahead(num_tokens);
    if (comparison) {
      jumps_to_end.push_back(emit(Op::compare_chain, 0, number));
    } else {
      emit(Op::compare, number);
    }
  }
  for (const std::size_t jump : jumps_to_end) land(jump);
}

void Compiler::sum() {
  concatenation();
  while (is_symbol("+") || is_symbol("-")) {
    const auto operation = take().text == "+" ? Arithmetic::add : Arithmetic::subtract;
    concatenation();
    emit(Op::arithmetic, static_cast<std::int32_t>(operation));
  }
}

void Compiler::concatenation() {
  product();
  std::int32_t count = 1;
  while (skip_symbol("~")) {
    product();
    ++count;
  }
  if (count > 1) emit(Op::concatenate, count);
}

void Compiler::product() {
  struct Operator {
    std::string_view symbol;
    Arithmetic operation;
  };
  constexpr std::array<Operator, 4> kOperators = {{{"*", Arithmetic::multiply},
                                                   {"/", Arithmetic::divide},
                                                   {"//", Arithmetic::floor_divide},
                                                   {"%", Arithmetic::modulo}}};
  power();
  while (current().kind == TokenKind::symbol) {
    const auto found = std::ranges::find(kOperators, current().text, &Operator::symbol);
    if (found == kOperators.end()) return;
    ++next_;
    power();
    emit(Op::arithmetic, static_cast<std::int32_t>(found->operation));
  }
}

// Looser than the sign and from left to right, unlike in Python: -2 ** 2 is 4.
void Compiler::power() {
  unary(true);
  while (skip_symbol("**")) {
    unary(true);
    emit(Op::arithmetic, static_cast<std::int32_t>(Arithmetic::power));
  }
}

void Compiler::unary(bool takes_filters) {
  if (is_symbol("-") || is_symbol("+")) {
    const Level level(*this);
    const Op sign = take().text == "-" ? Op::negative : Op::positive;
    unary(false);
    emit(sign);
  } else {
    primary();
  }
  postfix();
  if (takes_filters) filters_and_tests();
}

void Compiler::primary() {
  const Token& token = current();
  if (token.kind == TokenKind::name) {
    named_value();
  } else if (token.kind == TokenKind::string) {
    string_literal();
  } else if (token.kind == TokenKind::integer || token.kind == TokenKind::real) {
    double real = 0;
    std::int64_t integer = 0;
    const char* end = token.text.data() + token.text.size();
    const bool is_real = token.kind == TokenKind::real;
    if (is_real) {
      std::from_chars(token.text.data(), end, real);
    } else {
      std::from_chars(token.text.data(), end, integer);
    }
    ++next_;
    emit(Op::constant, constant(is_real ? Value::real(real) : Value::integer(integer)));
  } else if (is_symbol("(")) {
    parenthesized();
  } else if (is_symbol("[")) {
    list_literal();
  } else if (is_symbol("{")) {
    dict_literal();
  } else {
    refuse(cat("an expression is expected, not ", describe(token)));
  }
}

void Compiler::named_value() {
  const std::string text = take().text;
  if (text == "true" || text == "True") {
    emit(Op::constant, constant(Value::boolean(true)));
  } else if (text == "false" || text == "False") {
    emit(Op::constant, constant(Value::boolean(false)));
  } else if (text == "none" || text == "None") {
    emit(Op::constant, constant(Value::none()));
  } else {
    emit(Op::load, name(text));
  }
}

void Compiler::string_literal() {
  std::string text;
  while (current().kind == TokenKind::string) text += take().text;
  emit(Op::constant, constant(make_constant(std::move(text))));
}

void Compiler::parenthesized() {
  expect_symbol("(");
  if (skip_symbol(")")) {
    emit(Op::tuple, 0);
    return;
  }
  tuple(Conditional::yes);
  expect_symbol(")");
}

void Compiler::list_literal() {
  expect_symbol("[");
  std::int32_t count = 0;
  while (!is_symbol("]")) {
    if (count > 0) expect_symbol(",");
    if (is_symbol("]")) break;
    expression();
    ++count;
  }
  expect_symbol("]");
  emit(Op::list, count);
}

void Compiler::dict_literal() {
  expect_symbol("{");
  std::int32_t count = 0;
  while (!is_symbol("}")) {
    if (count > 0) expect_symbol(",");
    if (is_symbol("}")) break;
    expression();
    expect_symbol(":");
    expression();
    ++count;
  }
  expect_symbol("}");
  emit(Op::dict, count);
}

}  // namespace trireme::text::jinja
