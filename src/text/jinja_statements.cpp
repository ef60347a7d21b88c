// The tags {% ... %}.

#include <array>

#include "base/error.h"
#include "base/nearest.h"
#include "text/jinja_compiler.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

// Jinja's tags that are not supported, so that they are not taken for spelling errors.
constexpr std::array<std::string_view, 13> kRefusedTags = {
    "autoescape", "block",   "call",  "debug", "do",    "extends", "from",
    "import",     "include", "print", "raw",   "trans", "with"};

}  // namespace

void Compiler::body(Names ends) {
  const Level level(*this);
  while (true) {
    switch (current().kind) {
      case TokenKind::text: {
        const std::int32_t idx = constant(make_constant(current().text));
        ++next_;
        emit(Op::text, idx);
        break;
      }
      case TokenKind::print_begin:
        ++next_;
        tuple(Conditional::yes);
        expect(TokenKind::print_end, "'}}'");
        emit(Op::print);
        break;
      case TokenKind::block_begin:
        ++next_;
        if (is_any_name(ends)) return;
        statement();
        break;
      default:
        if (ends.size() == 0) return;
        refuse(cat("the template ends where '", *(ends.end() - 1), "' is expected"));
    }
  }
}

void Compiler::statement() {
  struct Tag {
    std::string_view name;
    void (Compiler::*compile)();
  };
  static constexpr std::array<Tag, 8> kTags = {{
      {"if", &Compiler::if_statement},
      {"for", &Compiler::for_statement},
      {"set", &Compiler::set_statement},
      {"macro", &Compiler::macro_statement},
      {"filter", &Compiler::filter_statement},
      {"generation", &Compiler::generation_statement},
      {"break", &Compiler::break_statement},
      {"continue", &Compiler::continue_statement},
  }};
  if (current().kind != TokenKind::name) {
    refuse(cat("the name of a tag is expected, not ", describe(current())));
  }
  const std::string& name = current().text;
  const auto tag = std::ranges::find(kTags, name, &Tag::name);
  if (tag != kTags.end()) {
    ++next_;
    (this->*tag->compile)();
    return;
  }
  if (std::ranges::find(kRefusedTags, name) != kRefusedTags.end()) {
    refuse(cat("the tag '", name, "' is not supported"));
  }
  std::vector<std::string> names = {"elif", "else", "endif", "endfor", "endset", "endmacro"};
  for (const Tag& known : kTags) names.emplace_back(known.name);
  const std::string nearest = nearest_name(clip(name), names);
  if (nearest == name) refuse(cat("the tag '", name, "' closes nothing here"));
  refuse(cat("the tag '", clip(name), "' is not known",
             nearest.empty() ? "" : cat("; is '", nearest, "' meant?")));
}

void Compiler::end_of_tag() {
  skip_symbol(":");
  expect(TokenKind::block_end, "'%}'");
}

void Compiler::end_tag() {
  ++next_;  // its name, at which the body ended
  expect(TokenKind::block_end, "'%}'");
}

void Compiler::if_statement() {
  std::vector<std::size_t> jumps_to_end;
  ++open_ifs_;
  while (true) {
    tuple(Conditional::no);
    const std::size_t jump_on = emit(Op::jump_if_false);
    end_of_tag();
    body({"elif", "else", "endif"});
    if (is_name("endif")) {
      land(jump_on);
      break;
    }
    jumps_to_end.push_back(emit(Op::jump));
    land(jump_on);
    if (skip_name("elif")) continue;
    ++next_;
    end_of_tag();
    body({"endif"});
    break;
  }
  --open_ifs_;
  for (const std::size_t jump : jumps_to_end) land(jump);
  end_tag();
}

void Compiler::for_statement() {
  const Code where = target(false, {"in"});
  if (!skip_name("in")) refuse(cat("'in' is expected, not ", describe(current())));
  tuple(Conditional::no, {"recursive"});
  if (skip_name("if")) keep_items(where);
  if (is_name("recursive")) refuse("'recursive' loops are not supported");
  end_of_tag();
  loop_body(where);
}

// Goes through the items once to keep those that pass: only then is the length of the loop known.
// The condition sees the names as they are before the first turn.
void Compiler::keep_items(const Code& where) {
  const InnerScope scope(*this);
  emit(Op::begin_loop);
  const std::size_t turn = emit(Op::next_turn);
  append(where);
  expression();
  emit(Op::keep_item);
  jump_back(turn);
  land(turn);
  emit(Op::end_filter);
}

void Compiler::loop_body(const Code& where) {
  emit(Op::begin_loop, 1);
  const std::size_t turn = emit(Op::next_turn);
  {
    const InnerScope scope(*this);
    append(where);
    open_.push_back({Open::loop, turn, {}});
    body({"else", "endfor"});
  }
  jump_back(turn);
  land(turn);
  for (const std::size_t jump : open_.back().breaks) land(jump);
  open_.pop_back();
  const bool has_else = is_name("else");
  emit(Op::end_loop, has_else ? 1 : 0);
  if (has_else) for_else();
  end_tag();
}

void Compiler::for_else() {
  const InnerScope scope(*this);
  ++next_;
  const std::size_t jump_on = emit(Op::jump_if_false);
  emit(Op::begin_scope);
  open_.push_back({Open::scope, 0, {}});
  end_of_tag();
  body({"endfor"});
  open_.pop_back();
  emit(Op::end_scope);
  land(jump_on);
}

void Compiler::break_statement() {
  leave_loop(false);
  expect(TokenKind::block_end, "'%}'");
}

void Compiler::continue_statement() {
  leave_loop(true);
  expect(TokenKind::block_end, "'%}'");
}

void Compiler::leave_loop(bool goes_on) {
  for (auto open = open_.rbegin(); open != open_.rend(); ++open) {
    if (open->kind == Open::barrier) break;
    if (open->kind == Open::scope) emit(Op::end_scope);
    if (open->kind == Open::capture) {
      emit(Op::end_capture);
      emit(Op::drop);
    }
    if (open->kind != Open::loop) continue;
    if (goes_on) {
      jump_back(open->next_turn);
    } else {
      open->breaks.push_back(emit(Op::jump));
    }
    return;
  }
  refuse(cat("'", goes_on ? "continue" : "break", "' stands outside of a loop"));
}

void Compiler::set_statement() {
  const Code where = target(true, {});
  if (skip_symbol("=")) {
    tuple(Conditional::yes);
    expect(TokenKind::block_end, "'%}'");
  } else {
    const std::size_t begin = code_.size();
    while (skip_symbol("|")) filter();
    captured_body("endset", cut(begin));
  }
  append(where);
}

void Compiler::filter_statement() {
  const std::size_t begin = code_.size();
  filter();
  while (skip_symbol("|")) filter();
  captured_body("endfilter", cut(begin));
  emit(Op::print);
}

// A body whose output, after the filters, is left on the stack.
void Compiler::captured_body(std::string_view end, const Code& filters) {
  emit(Op::begin_scope);
  emit(Op::begin_capture);
  open_.push_back({Open::scope, 0, {}});
  open_.push_back({Open::capture, 0, {}});
  end_of_tag();
  {
    const InnerScope scope(*this);
    body({end});
  }
  end_tag();
  open_.resize(open_.size() - 2);
  emit(Op::end_capture);
  append(filters);
  emit(Op::end_scope);
}

void Compiler::generation_statement() {
  const InnerScope scope(*this);
  emit(Op::begin_scope);
  open_.push_back({Open::barrier, 0, {}});
  end_of_tag();
  body({"endgeneration"});
  end_tag();
  open_.pop_back();
  emit(Op::end_scope);
}

void Compiler::macro_statement() {
  const std::size_t idx = program_.macros.size();
  MacroCode macro{take_name("the name of a macro"), {}, 0};
  program_.macros.emplace_back();
  emit(Op::macro, static_cast<std::int32_t>(idx));
  emit(Op::store, name(macro.name));
  const std::size_t jump_over = emit(Op::jump);
  const InnerScope scope(*this);
  macro.entry = code_.size();
  parameters(macro);
  open_.push_back({Open::barrier, 0, {}});
  end_of_tag();
  body({"endmacro"});
  end_tag();
  open_.pop_back();
  emit(Op::end_macro);
  land(jump_over);
  program_.macros[idx] = std::move(macro);
}

// The parameters, and the code that gives a default to those that are missing.
void Compiler::parameters(MacroCode& macro) {
  expect_symbol("(");
  bool has_defaults = false;
  while (!is_symbol(")")) {
    if (!macro.parameters.empty()) expect_symbol(",");
    const std::int32_t parameter = name(take_name("the name of a parameter"));
    macro.parameters.push_back(static_cast<std::uint32_t>(parameter));
    if (skip_symbol("=")) {
      has_defaults = true;
      const std::size_t jump_on = emit(Op::jump_if_bound, 0, parameter);
      expression();
      emit(Op::store, parameter);
      land(jump_on);
    } else if (has_defaults) {
      refuse("a parameter without a default stands behind one with a default");
    }
  }
  expect_symbol(")");
}

// The code that stores the operand: one name, or several in a tuple.
Compiler::Code Compiler::target(bool may_be_attribute, Names ends) {
  const Level level(*this);
  Code parts;
  std::int32_t count = 0;
  bool is_tuple = false;
  while (count == 0 || !at_tuple_end(ends)) {
    const Code part = single_target(may_be_attribute);
    parts.insert(parts.end(), part.begin(), part.end());
    ++count;
    if (!skip_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) return parts;
  parts.insert(parts.begin(), {Op::unpack, count, 0, current().line});
  return parts;
}

Compiler::Code Compiler::single_target(bool may_be_attribute) {
  const std::uint32_t line = current().line;
  if (skip_symbol("(")) {
    Code inner = target(may_be_attribute, {});
    expect_symbol(")");
    return inner;
  }
  if (is_any_name({"true", "false", "none", "True", "False", "None"})) {
    refuse(cat("'", current().text, "' cannot be given a value"));
  }
  const std::string text = take_name("a name");
  const std::int32_t idx = name(text);
  if (may_be_attribute && skip_symbol(".")) {
    const std::int32_t attribute = constant(make_constant(take_name("the name of an attribute")));
    return {{Op::store_attribute, idx, attribute, line}};
  }
  return {{Op::store, idx, 0, line}};
}

}  // namespace trireme::text::jinja
