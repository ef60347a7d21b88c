#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::text {

/// Half-open range of bytes.
struct ByteRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The steps that expressions may still take on one input beyond a few for each of its bytes:
/// however many pieces the input is cut into, all of them draw on one budget.
class StepBudget {
 public:
  explicit StepBudget(std::size_t input_bytes);
  /// Takes at most `steps` away; gives how many it took.
  std::uint64_t take(std::uint64_t steps);

 private:
  std::uint64_t left_;
};

/// A compiled regular expression over UTF-8, in PCRE2, as close to the Ruby syntax of published
/// tokenizers as that goes. Immutable; threads may share it.
class Regex {
 public:
  /// Throws Error(checkpoint) that begins with `where` if the pattern is wrong, or uses what the
  /// two syntaxes understand differently.
  Regex(std::string_view pattern, const std::string& where);
  Regex(Regex&&) noexcept;
  ~Regex();

  /// Searches texts from match to match. Its steps are counted, so that no input can make it take
  /// more than a number of steps proportional to the input's length.
  class Search {
   public:
    /// Both must outlive the search.
    Search(const Regex& regex, StepBudget& budget);
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;
    ~Search();

    /// The match in `text` (valid UTF-8) that begins at `position`; none if there is none. Throws
    /// Error(input) naming the pattern when more steps, depth or memory are needed than are
    /// allowed.
    std::optional<ByteRange> match_at(std::string_view text, std::size_t position);

   private:
    int match_with_limit(std::string_view text, std::size_t position, std::uint32_t max_steps);

    struct Impl;
    const Regex& regex_;
    StepBudget& budget_;
    std::unique_ptr<Impl> impl_;
  };

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace trireme::text
