#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>

#include "text/json_field.h"
#include "text/regex.h"
#include "text/scanners.h"

namespace trireme::text {

/// A part of a text, and whether the pattern matched it.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool is_match = false;
};

/// What normalizers, pre-tokenizers and decoders look for: a string, a scanner or an expression.
class Pattern {
 public:
  explicit Pattern(Scanner scanner) : pattern_(scanner) {}
  explicit Pattern(std::string literal) : pattern_(std::move(literal)) {}
  explicit Pattern(Regex regex) : pattern_(std::move(regex)) {}

  /// {"String": s} or {"Regex": r}; expressions that have a scanner use it.
  static Pattern from_json(const JsonField& field);

  /// Cuts `text` into matches and what lies between them, none empty but matches of expressions
  /// that may be, and hands them on in order. Throws Error(input) as Regex::Search does.
  void find(std::string_view text, StepBudget& budget,
            const std::function<void(const Span&)>& on_span) const;

  /// `text` with every match replaced.
  std::string replace(std::string_view text, std::string_view replacement,
                      StepBudget& budget) const;

  /// The string, if it is one.
  const std::string* literal() const { return std::get_if<std::string>(&pattern_); }

 private:
  std::variant<std::string, Scanner, Regex> pattern_;
};

}  // namespace trireme::text
