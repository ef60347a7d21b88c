#include "text/jinja_machine.h"

#include "base/error.h"
#include "text/jinja_access.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {

Machine::Machine(const Program& program, Context& context)
    : program_(program),
      context_(context),
      scope_(std::make_shared<Scope>(context.budget, nullptr)) {
  captures_.emplace_back(context.budget);
  for (std::uint32_t idx = 0; idx < program.names.size(); ++idx) {
    const Function* function = find_function(program.names[idx]);
    if (function == nullptr || program.hidden[idx]) continue;
    auto object = std::make_shared<FunctionObject>(&context.budget, *function);
    scope_->set(idx, Value(Kind::function, std::move(object)));
  }
}

void Machine::define(std::string_view name, Value value) {
  const auto found = program_.name_idx.find(std::string(name));
  if (found == program_.name_idx.end() || program_.hidden[found->second]) return;
  scope_->set(found->second, std::move(value));
}

std::string Machine::run() {
  const Instruction* instruction = nullptr;
  try {
    while (runs_) {
      instruction = &program_.code[next_++];
      context_.budget.spend(1);
      step(*instruction);
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    fail(ErrorKind::input, cat("line ", instruction->line, ": ", error.what()), error.where());
  }
  return std::move(captures_[0].text);
}

// The instructions that jump or print; the others in the two functions below.
void Machine::step(const Instruction& instruction) {
  switch (instruction.op) {
    case Op::text:
      print_text(text_of(program_.constants[static_cast<std::size_t>(instruction.a)]));
      break;
    case Op::print:
      print(pop());
      break;
    case Op::jump:
      jump(instruction.a);
      break;
    case Op::jump_if_false:
      if (!truth(pop())) jump(instruction.a);
      break;
    case Op::jump_if_false_or_pop:
    case Op::jump_if_true_or_pop:
      if (truth(top()) == (instruction.op == Op::jump_if_true_or_pop)) {
        jump(instruction.a);
      } else {
        pop();
      }
      break;
    case Op::jump_if_bound:
      if (scope_->find_here(static_cast<std::uint32_t>(instruction.b)) != nullptr) {
        jump(instruction.a);
      }
      break;
    case Op::compare_chain:
      compare_chain(instruction);
      break;
    case Op::next_turn:
      next_turn(instruction);
      break;
    case Op::stop:
      runs_ = false;
      break;
    default:
      step_value(instruction);
  }
}

void Machine::step_value(const Instruction& instruction) {
  const auto count = static_cast<std::size_t>(instruction.a);
  switch (instruction.op) {
    case Op::drop:
      pop();
      break;
    case Op::constant:
      push(program_.constants[count]);
      break;
    case Op::load:
      load(static_cast<std::uint32_t>(instruction.a));
      break;
    case Op::logical_not:
      top() = Value::boolean(!truth(top()));
      break;
    case Op::negative:
      top() = negative(top());
      break;
    case Op::positive:
      top() = positive(top());
      break;
    case Op::arithmetic: {
      const Value right = pop();
      top() = arithmetic(context_.budget, static_cast<Arithmetic>(instruction.a), top(), right);
      break;
    }
    case Op::compare: {
      const Value right = pop();
      const auto comparison = static_cast<Comparison>(instruction.a);
      top() = Value::boolean(compare(context_, comparison, top(), right));
      break;
    }
    case Op::concatenate:
      concatenate(count);
      break;
    case Op::list:
      build_list(Kind::list, count);
      break;
    case Op::tuple:
      build_list(Kind::tuple, count);
      break;
    case Op::dict:
      build_dict(count);
      break;
    case Op::attribute:
      top() = get_attribute(context_, top(), program_.constants[count]);
      break;
    case Op::item: {
      const Value key = pop();
      top() = get_item(context_, top(), key);
      break;
    }
    case Op::slice:
      slice(instruction.a != 0);
      break;
    default:
      step_block(instruction);
  }
}

void Machine::step_block(const Instruction& instruction) {
  const auto count = static_cast<std::size_t>(instruction.a);
  switch (instruction.op) {
    case Op::filter:
      apply_filter(instruction);
      break;
    case Op::test:
      apply_test(instruction);
      break;
    case Op::call:
      call(program_.shapes[count]);
      break;
    case Op::store:
      scope_->set(static_cast<std::uint32_t>(instruction.a), pop());
      break;
    case Op::store_attribute:
      store_attribute(static_cast<std::uint32_t>(instruction.a),
                      program_.constants[static_cast<std::size_t>(instruction.b)]);
      break;
    case Op::unpack:
      unpack(count);
      break;
    case Op::begin_loop:
      begin_loop(instruction.a != 0);
      break;
    case Op::keep_item:
      if (truth(pop())) keep_item();
      break;
    case Op::end_filter:
      end_filter();
      break;
    case Op::end_loop:
      end_loop(instruction.a != 0);
      break;
    case Op::begin_scope:
      begin_scope();
      break;
    case Op::end_scope:
      end_scope();
      break;
    case Op::begin_capture:
      captures_.emplace_back(context_.budget);
      break;
    case Op::end_capture:
      push(make_string(context_.budget, end_capture()));
      break;
    case Op::macro:
      make_macro(static_cast<std::uint32_t>(instruction.a));
      break;
    case Op::end_macro:
      end_macro();
      break;
    case Op::unknown_filter:
      fail(ErrorKind::input, unknown_filter(text_of(program_.constants[count])));
    case Op::unknown_test:
      fail(ErrorKind::input, unknown_test(text_of(program_.constants[count])));
    default:
      TRIREME_CHECK(false, "instruction ", static_cast<int>(instruction.op));
  }
}

void Machine::push(Value value) {
  if (stack_.size() == kMaxStack) {
    fail(ErrorKind::input, cat("an expression has more than ", kMaxStack, " parts waiting"));
  }
  stack_.push_back(std::move(value));
}

Value Machine::pop() {
  Value value = std::move(stack_.back());
  stack_.pop_back();
  return value;
}

void Machine::print(const Value& value) {
  if (value.is(Kind::string)) {
    print_text(text_of(value));
  } else {
    print_text(to_text(context_.budget, value));
  }
}

void Machine::print_text(const std::string& text) {
  Capture& capture = captures_.back();
  context_.budget.spend_bytes(text.size());
  const std::size_t size = capture.text.size() + text.size();
  if (size > kMaxValueBytes) context_.budget.require(size);
  capture.held->grow(text.size());
  capture.text += text;
}

// The text is counted again when it becomes a value.
std::string Machine::end_capture() {
  std::string text = std::move(captures_.back().text);
  captures_.pop_back();
  return text;
}

void Machine::load(std::uint32_t name) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->outer.get()) {
    if (const Value* value = scope->find_here(name)) {
      push(*value);
      return;
    }
  }
  const std::string& text = program_.names[name];
  if (!calls_.empty() && (text == "varargs" || text == "kwargs")) {
    fail(ErrorKind::input, cat("'", text, "' of a macro is not supported"));
  }
  std::string reason = "'";
  reason.append(clip(text)).append("' is undefined");
  push(make_undefined(context_.budget, std::move(reason)));
}

void Machine::store_attribute(std::uint32_t name, const Value& attribute) {
  load(name);
  const Value target = pop();
  if (!target.is(Kind::name_space)) {
    fail(ErrorKind::input,
         cat("'", clip(program_.names[name]), ".", clip(text_of(attribute)),
             "' cannot be set: only a namespace() takes attributes, not ", type_name(target)));
  }
  target.as<Namespace>().set(text_of(attribute), pop());
}

void Machine::concatenate(std::size_t count) {
  std::string text;
  for (std::size_t idx = stack_.size() - count; idx < stack_.size(); ++idx) {
    append_text(context_.budget, text, stack_[idx]);
  }
  pop_many(count);
  push(make_string(context_.budget, std::move(text)));
}

void Machine::compare_chain(const Instruction& instruction) {
  Value right = pop();
  const Value left = pop();
  if (compare(context_, static_cast<Comparison>(instruction.b), left, right)) {
    push(std::move(right));
  } else {
    push(Value::boolean(false));
    jump(instruction.a);
  }
}

void Machine::build_list(Kind kind, std::size_t count) {
  const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(count);
  std::vector<Value> items(begin, stack_.end());
  pop_many(count);
  push(kind == Kind::list ? make_list(context_.budget, std::move(items))
                          : make_tuple(context_.budget, std::move(items)));
}

void Machine::build_dict(std::size_t count) {
  std::vector<Dict::Pair> pairs;
  pairs.reserve(count);
  for (std::size_t idx = stack_.size() - 2 * count; idx < stack_.size(); idx += 2) {
    pairs.emplace_back(std::move(stack_[idx]), std::move(stack_[idx + 1]));
  }
  pop_many(2 * count);
  push(make_dict(context_.budget, std::move(pairs)));
}

void Machine::slice(bool undefined_if_wrong) {
  const Value step = pop();
  const Value stop = pop();
  const Value start = pop();
  top() = get_slice(context_, top(), {start, stop, step, undefined_if_wrong});
}

void Machine::unpack(std::size_t count) {
  const Value value = pop();
  const std::vector<Value> items = collect(context_, value);
  if (items.size() != count) {
    fail(ErrorKind::input, cat("a ", type_name(value), " of ", items.size(),
                               " values cannot be given to ", count, " names"));
  }
  for (auto item = items.rbegin(); item != items.rend(); ++item) push(*item);
}

}  // namespace trireme::text::jinja
