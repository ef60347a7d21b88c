#pragma once

#include <cstddef>

namespace trireme::text::jinja {

inline constexpr std::size_t kMaxSourceBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxSteps = 10'000'000;
inline constexpr std::size_t kMaxValueBytes = std::size_t{64} << 20;  ///< one value, or the output
inline constexpr std::size_t kMaxLiveBytes = std::size_t{128} << 20;  ///< all values and the output
inline constexpr std::size_t kMaxRange = 100'000;
inline constexpr int kMaxNesting = 100;  ///< of blocks, of expressions, of values in each other
inline constexpr std::size_t kMaxMacroDepth = 400;
inline constexpr std::size_t kMaxStack = std::size_t{1} << 20;  ///< operands waiting at a time

/// What one rendering may still use. A step is about 100 ns of work: an instruction, an item of a
/// list, some bytes of a text. Every function throws Error(input) when a limit is exceeded.
class Budget {
 public:
  void spend(std::size_t steps) {
    if (steps > steps_left_) [[unlikely]] {
      refuse_steps();
    }
    steps_left_ -= steps;
  }
  /// For copying text.
  void spend_bytes(std::size_t bytes) { spend(bytes / 64); }
  /// For searching in text.
  void spend_search(std::size_t bytes) { spend(bytes / 16); }
  /// For work on each character, such as another case.
  void spend_characters(std::size_t bytes) { spend(bytes / 4); }

  /// Asks whether a value of so many bytes may be made; to be called before memory is taken.
  void require(std::size_t bytes) const;
  /// The same for `count` parts of `each` bytes, whose product may overflow.
  void require(std::size_t count, std::size_t each) const;

  void hold(std::size_t bytes);
  void release(std::size_t bytes) noexcept { live_bytes_ -= bytes; }

 private:
  [[noreturn]] static void refuse_steps();

  std::size_t steps_left_ = kMaxSteps;
  std::size_t live_bytes_ = 0;
};

/// Bytes that count against a budget as long as this lives. Constants of a template have no budget.
class Held {
 public:
  Held(Budget* budget, std::size_t bytes) : budget_(budget) { grow(bytes); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    if (budget_ != nullptr) budget_->release(bytes_);
  }

  void grow(std::size_t bytes) {
    if (budget_ == nullptr) return;
    budget_->hold(bytes);
    bytes_ += bytes;
  }
  void shrink_to_nothing() {
    if (budget_ != nullptr) budget_->release(bytes_);
    bytes_ = 0;
  }

 private:
  Budget* budget_;
  std::size_t bytes_ = 0;
};

}  // namespace trireme::text::jinja
