#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace trireme::text::jinja {

/// The names that one part of a template gives values to. What is not found is looked for outside.
struct Scope {
  Scope(Budget& budget_of_names, std::shared_ptr<Scope> outer_scope)
      : budget(budget_of_names), outer(std::move(outer_scope)), held(&budget, sizeof(Scope) + 32) {}

  const Value* find_here(std::uint32_t name) const {
    budget.spend(names.size() / 16);
    for (const auto& [known, value] : names) {
      if (known == name) return &value;
    }
    return nullptr;
  }

  void set(std::uint32_t name, Value value) {
    budget.spend(names.size() / 16);
    for (auto& [known, old] : names) {
      if (known != name) continue;
      old = std::move(value);
      return;
    }
    held.grow(2 * sizeof(names[0]));
    names.emplace_back(name, std::move(value));
  }

  void clear() {
    names.clear();
    held.shrink_to_nothing();
  }

  Budget& budget;
  const std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::uint32_t, Value>> names;
  bool has_macros = false;  ///< which find it again when they are called
  Held held;
};

}  // namespace trireme::text::jinja
