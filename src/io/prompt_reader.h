#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/prompt_row.h"

namespace trireme::io {

/// Where a prompt file keeps its prompts.
enum class PromptSource : std::uint8_t { strings, bytes, messages, requests, token_ids };

/// Reads the rows of a prompt file (io/README.md has the schema). Opening checks the whole file by
/// its declarations and offsets; rows are read when they are asked for, a few at a time, so memory
/// does not grow with the file. One reader belongs to one thread.
class PromptReader {
 public:
  struct Options {
    bool allow_links = false;  ///< soft and external links, external storage, virtual datasets
    /// Offsets and custom ids are checked from end to end, which takes time; one rank is enough.
    bool check_contents = true;
  };

  /// Opens and checks. Throws Error(missing) if there is no such file, Error(input) naming file and
  /// object for everything that breaks the schema, 0 rows included.
  static PromptReader open(const std::string& path, const Options& options);
  static PromptReader open(const std::string& path) { return open(path, Options{}); }

  PromptReader(PromptReader&&) noexcept;
  PromptReader& operator=(PromptReader&&) noexcept;
  ~PromptReader();

  std::int64_t num_rows() const;
  PromptSource source() const;
  const std::string& path() const;
  /// What is odd but allowed: unknown columns and attributes.
  const std::vector<std::string>& warnings() const;
  /// What the root attributes say for all rows.
  const RowOptions& defaults() const;
  /// Names of the optional columns that are there, sorted.
  std::vector<std::string> columns() const;

  /// Row `index` in 0..num_rows()-1. What is wrong with the row alone is in its `error`; throws
  /// Error(input) only if the file cannot be read on.
  PromptRow read_row(std::int64_t index);

  /// Input length of the rows [begin, end): tokens, or bytes where there are none.
  std::vector<std::int64_t> lengths(std::int64_t begin, std::int64_t end);

  /// What the rows [begin, end) may generate as column or attribute say; -1 = not said there. The
  /// text of requests is not looked into. Values out of range count as -1.
  std::vector<std::int64_t> allowed_outputs(std::int64_t begin, std::int64_t end);

 private:
  struct Impl;
  explicit PromptReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::io
