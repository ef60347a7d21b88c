#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/jinja_context.h"
#include "text/jinja_loop.h"
#include "text/jinja_program.h"
#include "text/jinja_scope.h"

namespace trireme::text::jinja {

/// Runs one program once. Blocks, loops and macro calls are kept in vectors: running takes no more
/// of the thread's stack however deep they are.
class Machine {
 public:
  Machine(const Program& program, Context& context);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Defines a name for the whole template; one that it never uses is dropped.
  void define(std::string_view name, Value value);

  /// The text that the template prints. Throws Error(input) that begins with "line N: ".
  std::string run();

 private:
  struct Turns {
    std::shared_ptr<Loop> loop;
    Value value;              // the loop as `loop`
    bool is_named = false;    // whether `loop` is defined
    std::vector<Value> kept;  // items that passed the condition
  };
  struct Capture {
    explicit Capture(Budget& budget) : held(std::make_unique<Held>(&budget, 64)) {}
    std::string text;
    std::unique_ptr<Held> held;
  };
  struct Call {
    std::size_t return_to;
    std::shared_ptr<Scope> scope;
  };

  void step(const Instruction& instruction);
  void step_value(const Instruction& instruction);
  void step_block(const Instruction& instruction);

  void print(const Value& value);
  void print_text(const std::string& text);
  std::string end_capture();
  void load(std::uint32_t name);
  void store_attribute(std::uint32_t name, const Value& attribute);
  void concatenate(std::size_t count);
  void compare_chain(const Instruction& instruction);
  void build_list(Kind kind, std::size_t count);
  void build_dict(std::size_t count);
  void slice(bool undefined_if_wrong);
  void unpack(std::size_t count);

  Arguments arguments_on_stack(const CallShape& shape) const;
  void call(const CallShape& shape);
  void call_macro(const Macro& macro, const CallShape& shape);
  void end_macro();
  void apply_filter(const Instruction& instruction);
  void apply_test(const Instruction& instruction);

  void begin_scope();
  void end_scope();
  void begin_loop(bool is_named);
  void next_turn(const Instruction& instruction);
  void keep_item();
  void end_filter();
  void end_loop(bool tells_if_empty);
  void make_macro(std::uint32_t idx);

  void push(Value value);
  Value pop();
  void pop_many(std::size_t count) { stack_.resize(stack_.size() - count); }
  Value& top() { return stack_.back(); }
  void jump(std::int32_t distance) { next_ += static_cast<std::size_t>(distance) - 1; }

  const Program& program_;
  Context& context_;
  std::size_t next_ = 0;  // the instruction after this one
  bool runs_ = true;
  std::vector<Value> stack_;
  std::vector<Capture> captures_;  // the first one is the output
  std::vector<Turns> loops_;
  std::vector<Call> calls_;
  std::shared_ptr<Scope> scope_;
};

}  // namespace trireme::text::jinja
