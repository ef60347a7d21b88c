#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja_call.h"
#include "text/jinja_value.h"

namespace trireme::text::jinja {

/// The instructions of the machine. `a` and `b` are those of the instruction; jumps are relative,
/// so that the code of an expression can be moved. Operands come from the stack, results go onto
/// it.
enum class Op : std::uint8_t {
  text,                  ///< prints constant a
  print,                 ///< prints the operand
  drop,                  ///< the operand
  constant,              ///< constant a
  load,                  ///< the value of name a
  store,                 ///< gives the operand to name a
  store_attribute,       ///< gives the operand to attribute b of the namespace of name a
  jump,                  ///< by a
  jump_if_false,         ///< by a, if the operand is false
  jump_if_false_or_pop,  ///< by a, keeping the operand, if it is false; else drops it
  jump_if_true_or_pop,
  jump_if_bound,  ///< by a, if name b has a value in the scope itself
  logical_not,
  negative,
  positive,
  arithmetic,     ///< a: Arithmetic
  concatenate,    ///< a texts
  compare,        ///< a: Comparison
  compare_chain,  ///< b: Comparison; if it fails puts false and jumps by a, else keeps the right
  list,           ///< of a operands
  tuple,
  dict,       ///< of a pairs of operands
  attribute,  ///< named by constant a
  item,
  slice,       ///< start, stop and step on top; a: 1 where all four are constants
  call,        ///< with the arguments of shape a
  filter,      ///< a: shape, b: filter
  test,        ///< a: shape, b: test
  unpack,      ///< an iterable into a operands, the first on top
  begin_loop,  ///< over the operand, in a scope of its own; a: 1 defines `loop`
  next_turn,   ///< puts the next item; after the last one jumps by a
  keep_item,   ///< if the operand is true, keeps the item of this turn
  end_filter,  ///< ends the loop and puts the list of kept items
  end_loop,    ///< a: 1 puts whether there was no turn
  begin_scope,
  end_scope,
  begin_capture,   ///< output goes into a text
  end_capture,     ///< and the text onto the stack
  macro,           ///< a macro object, a: macro
  end_macro,       ///< back to the caller with the captured text
  unknown_filter,  ///< throws: constant a is no filter; b: 1 where only reaching it is an error
  unknown_test,
  stop
};

inline bool is_unknown(Op op) { return op == Op::unknown_filter || op == Op::unknown_test; }

struct Instruction {
  Op op;
  std::int32_t a = 0;
  std::int32_t b = 0;
  std::uint32_t line = 0;
};

/// How many arguments stand on the stack: positional ones, then named ones.
struct CallShape {
  std::size_t num_positional = 0;
  std::vector<std::string> names;
};

struct MacroCode {
  std::string name;
  std::vector<std::uint32_t> parameters;  ///< names
  std::size_t entry = 0;                  ///< index of its first instruction
};

/// A template ready to run. Never changes, so threads may share it.
struct Program {
  std::vector<Instruction> code;
  std::vector<Value> constants;
  std::vector<std::string> names;
  std::vector<CallShape> shapes;
  std::vector<MacroCode> macros;
  std::vector<const Filter*> filters;
  std::vector<const Test*> tests;
  std::unordered_map<std::string, std::uint32_t> name_idx;  ///< of `names`
  /// Names of `names` that the template sets, outside of all blocks, before it reads them there. As
  /// in Jinja nothing sees what the caller gives for them, not even a loop or macro that runs
  /// before.
  std::vector<bool> hidden;
  std::uint32_t loop_name = 0;  ///< "loop"
};

/// Compiles a template. Throws Error(input) that begins with "line N: " and names what is wrong or
/// not known.
Program compile(std::string_view source);

}  // namespace trireme::text::jinja
