// Calls, scopes and loops of the machine.

#include <algorithm>

#include "base/error.h"
#include "text/jinja_machine.h"
#include "text/jinja_operators.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {

Arguments Machine::arguments_on_stack(const CallShape& shape) const {
  const std::size_t num_named = shape.names.size();
  const Value* begin = stack_.data() + stack_.size() - shape.num_positional - num_named;
  return {{begin, shape.num_positional}, {begin + shape.num_positional, num_named}, shape.names};
}

void Machine::call(const CallShape& shape) {
  const std::size_t num_arguments = shape.num_positional + shape.names.size();
  const Value callee = stack_[stack_.size() - num_arguments - 1];
  if (callee.is(Kind::macro)) {
    call_macro(callee.as<Macro>(), shape);
    return;
  }
  Value result;
  if (callee.is(Kind::function)) {
    result = callee.as<FunctionObject>().function.call(context_, arguments_on_stack(shape));
  } else if (callee.is(Kind::method)) {
    const auto& method = callee.as<MethodObject>();
    result = method.method.call(context_, method.self, arguments_on_stack(shape));
  } else if (callee.is(Kind::undefined)) {
    fail(ErrorKind::input, cat(reason_of(callee), ", so it cannot be called"));
  } else {
    fail(ErrorKind::input, cat("a ", type_name(callee), " cannot be called"));
  }
  pop_many(num_arguments);
  top() = std::move(result);
}

// The arguments become names of a scope inside the one where the macro was defined.
void Machine::call_macro(const Macro& macro, const CallShape& shape) {
  const MacroCode& code = program_.macros[macro.idx];
  const auto fail_call = [&](const std::string& what) {
    fail(ErrorKind::input, cat("the macro '", clip(code.name), "' ", what));
  };
  if (calls_.size() == kMaxMacroDepth) {
    fail_call(cat("is called inside of ", kMaxMacroDepth, " other calls of macros"));
  }
  const std::shared_ptr<Scope> defined_in = macro.scope.lock();
  if (!defined_in) fail_call("is called where the block that defines it has ended");
  const Arguments arguments = arguments_on_stack(shape);
  if (arguments.positional.size() > code.parameters.size()) {
    fail_call(cat("takes not more than ", code.parameters.size(), " arguments, ",
                  arguments.positional.size(), " are given"));
  }
  context_.budget.spend(8);
  auto scope = std::make_shared<Scope>(context_.budget, defined_in);
  for (std::size_t idx = 0; idx < arguments.positional.size(); ++idx) {
    scope->set(code.parameters[idx], arguments.positional[idx]);
  }
  for (std::size_t idx = 0; idx < arguments.named.size(); ++idx) {
    const std::string& name = arguments.names[idx];
    const auto is_name = [&](std::uint32_t other) { return program_.names[other] == name; };
    const auto found = std::ranges::find_if(code.parameters, is_name);
    if (found == code.parameters.end()) fail_call(cat("takes no argument '", clip(name), "'"));
    if (scope->find_here(*found) != nullptr) fail_call(cat("gets '", clip(name), "' twice"));
    scope->set(*found, arguments.named[idx]);
  }
  pop_many(shape.num_positional + shape.names.size() + 1);
  calls_.push_back({next_, std::move(scope_)});
  scope_ = std::move(scope);
  captures_.emplace_back(context_.budget);
  next_ = code.entry;
}

void Machine::end_macro() {
  Value text = make_string(context_.budget, end_capture());
  next_ = calls_.back().return_to;
  scope_ = std::move(calls_.back().scope);
  calls_.pop_back();
  push(std::move(text));
}

void Machine::make_macro(std::uint32_t idx) {
  scope_->has_macros = true;
  push(Value(Kind::macro, std::make_shared<Macro>(&context_.budget, idx, scope_)));
}

void Machine::apply_filter(const Instruction& instruction) {
  const CallShape& shape = program_.shapes[static_cast<std::size_t>(instruction.a)];
  const Filter& filter = *program_.filters[static_cast<std::size_t>(instruction.b)];
  const std::size_t num_arguments = shape.num_positional + shape.names.size();
  const Value& subject = stack_[stack_.size() - num_arguments - 1];
  Value result = filter.apply(context_, subject, arguments_on_stack(shape));
  pop_many(num_arguments);
  top() = std::move(result);
}

void Machine::apply_test(const Instruction& instruction) {
  const CallShape& shape = program_.shapes[static_cast<std::size_t>(instruction.a)];
  const Test& test = *program_.tests[static_cast<std::size_t>(instruction.b)];
  const std::size_t num_arguments = shape.num_positional + shape.names.size();
  const Value& subject = stack_[stack_.size() - num_arguments - 1];
  const bool holds = test.holds(context_, subject, arguments_on_stack(shape));
  pop_many(num_arguments);
  top() = Value::boolean(holds);
}

void Machine::begin_scope() {
  scope_ = std::make_shared<Scope>(context_.budget, std::move(scope_));
}

void Machine::end_scope() {
  std::shared_ptr<Scope> outer = scope_->outer;
  scope_ = std::move(outer);
}

void Machine::begin_loop(bool is_named) {
  context_.budget.spend(4);
  Turns turns;
  turns.loop = std::make_shared<Loop>(context_, pop());
  turns.value = Value(Kind::loop, turns.loop);
  turns.is_named = is_named;
  loops_.push_back(std::move(turns));
  begin_scope();
}

// Each turn begins without the names of the one before.
void Machine::next_turn(const Instruction& instruction) {
  const Turns& turns = loops_.back();
  auto item = turns.loop->next(context_);
  if (!item) {
    jump(instruction.a);
    return;
  }
  if (scope_->has_macros) {
    scope_ = std::make_shared<Scope>(context_.budget, scope_->outer);
  } else {
    scope_->clear();
  }
  if (turns.is_named) scope_->set(program_.loop_name, turns.value);
  push(std::move(*item));
}

void Machine::keep_item() {
  Turns& turns = loops_.back();
  turns.loop->held.grow(2 * sizeof(Value));
  turns.kept.push_back(*turns.loop->current());
}

void Machine::end_filter() {
  std::vector<Value> kept = std::move(loops_.back().kept);
  loops_.pop_back();
  end_scope();
  push(make_list(context_.budget, std::move(kept)));
}

void Machine::end_loop(bool tells_if_empty) {
  const bool had_no_turn = loops_.back().loop->index0() < 0;
  loops_.pop_back();
  end_scope();
  if (tells_if_empty) push(Value::boolean(had_no_turn));
}

}  // namespace trireme::text::jinja
