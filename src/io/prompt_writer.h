#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "io/prompt_reader.h"

namespace trireme::io {

/// Writes a new prompt file row by row: to PATH.tmp, renamed by finish(). Without finish() nothing
/// is left behind.
class PromptWriter {
 public:
  /// Throws Error(output) if PATH is there already or cannot be created.
  static PromptWriter create(const std::string& path, PromptSource source);

  PromptWriter(PromptWriter&&) noexcept;
  PromptWriter& operator=(PromptWriter&&) noexcept;
  ~PromptWriter();

  /// The prompt of the next row: bytes of a text, or JSON, as the source says.
  void add(std::string_view prompt);
  /// The prompt of the next row, source token_ids.
  void add_token_ids(std::span<const std::int32_t> ids);
  /// The value of an optional column for the next row, before its add(): integers (all of them, or
  /// none), floats, booleans, strings. A column that is begun must be given for every row.
  void set_column(const std::string& name, const Json& value);
  void set_attribute(const std::string& name, const Json& value);

  /// Writes the rest, closes, syncs and renames. Throws Error(io), Error(input) if there is no row.
  void finish();

 private:
  struct Impl;
  explicit PromptWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::io
