#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_operators.h"
#include "text/jinja_program.h"

namespace trireme::text::jinja {

/// Turns tokens into a program, in one pass: each construct emits its instructions as it is read.
/// What Python does in another order than it is written is moved (a if b else c) or held back
/// (targets, the filters of a block).
class Compiler {
 public:
  explicit Compiler(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Program compile();

 private:
  using Code = std::vector<Instruction>;
  using Names = std::initializer_list<std::string_view>;

  // Statements (jinja_statements.cpp). A body ends at a tag of one of the names, which is not read.
  void body(Names ends);
  void statement();
  void if_statement();
  void for_statement();
  void loop_body(const Code& target);
  void for_else();
  void keep_items(const Code& target);
  void set_statement();
  void macro_statement();
  void parameters(MacroCode& macro);
  void filter_statement();
  void generation_statement();
  void break_statement();
  void continue_statement();
  void leave_loop(bool goes_on);
  void captured_body(std::string_view end, const Code& filters);
  void end_of_tag();
  void end_tag();
  Code target(bool may_be_attribute, Names ends);
  Code single_target(bool may_be_attribute);

  // Expressions (jinja_expressions.cpp), loosest first.
  enum class Conditional : bool { no, yes };
  void tuple(Conditional allowed, Names ends = {});
  void expression();
  void conditional_rest(std::size_t begin);
  bool at_tuple_end(Names ends) const;
  void disjunction();
  void conjunction();
  void negation();
  void comparison();
  void sum();
  void concatenation();
  void product();
  void power();
  void unary(bool takes_filters);
  void primary();
  void named_value();
  void string_literal();
  void parenthesized();
  void list_literal();
  void dict_literal();
  void postfix();
  void filters_and_tests();
  void filter();
  void test();
  void emit_unknown(Op op);
  void refuse_what_is_always_reached() const;
  bool test_has_argument() const;
  void dot();
  void subscript();
  bool slice_or_index();
  bool ends_with_constants(std::size_t count) const;
  void slice_bound(bool may_be_given);
  std::int32_t arguments();
  std::int32_t shape_of(CallShape shape);

  // Tokens.
  const Token& current() const { return tokens_[next_]; }
  const Token& following() const { return tokens_[std::min(next_ + 1, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[next_++]; }
  bool is_symbol(std::string_view text) const;
  bool is_name(std::string_view text) const;
  bool is_any_name(Names names) const;
  bool skip_symbol(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_symbol(std::string_view text);
  void expect(TokenKind kind, std::string_view what);
  std::string take_name(std::string_view what);
  std::optional<Comparison> comparison_ahead(std::size_t& num_tokens) const;
  [[noreturn]] void refuse(const std::string& message) const;

  // Code. `emit` gives the index of the instruction, `land` lets a jump go to what comes next.
  std::size_t emit(Op op, std::int32_t a = 0, std::int32_t b = 0);
  void append(const Code& code);
  void note_name(const Instruction& instruction);
  Code cut(std::size_t begin);
  void land(std::size_t jump);
  void jump_back(std::size_t to);
  std::int32_t constant(Value value);
  std::int32_t name(const std::string& text);

  // Counts the levels that are open; the stack is used up by them.
  class Level {
   public:
    explicit Level(Compiler& compiler) : compiler_(compiler) {
      if (++compiler_.depth_ > kMaxNesting) compiler_.refuse_depth();
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --compiler_.depth_; }

   private:
    Compiler& compiler_;
  };
  [[noreturn]] void refuse_depth() const;

  // A part whose names are its own.
  class InnerScope {
   public:
    explicit InnerScope(Compiler& compiler) : compiler_(compiler) { ++compiler_.inner_scopes_; }
    InnerScope(const InnerScope&) = delete;
    InnerScope& operator=(const InnerScope&) = delete;
    ~InnerScope() { --compiler_.inner_scopes_; }

   private:
    Compiler& compiler_;
  };

  // What `break` and `continue` have to undo on their way out of a loop.
  enum class Open { loop, scope, capture, barrier };
  struct OpenBlock {
    Open kind;
    std::size_t next_turn = 0;        // of a loop: where a turn begins
    std::vector<std::size_t> breaks;  // of a loop: jumps to its end
  };

  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  Code code_;
  Program program_;
  std::vector<OpenBlock> open_;
  std::vector<bool> is_noted_;  // of the names: whether the outermost scope has used them
  int depth_ = 0;
  int inner_scopes_ = 0;
  int open_ifs_ = 0;  // blocks in which what is not known is refused only when it is reached
};

}  // namespace trireme::text::jinja
