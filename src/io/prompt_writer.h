#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "io/hdf5_file.h"
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
  /// The value of an optional column for the next row, before its add(). Rows for which none is set
  /// get `filler`, those before the column's first value too.
  void set_column(const std::string& name, const Json& value, const Json& filler);
  /// The same for a column whose value is set for every row.
  void set_column(const std::string& name, const Json& value) { set_column(name, value, nullptr); }
  /// A whole column of another file as it is.
  void copy_column(const Hdf5File& from, const std::string& name);
  void set_attribute(const std::string& name, const Json& value);

  /// Writes the rest, closes, checks as a reader does, syncs and renames. Throws Error(io),
  /// Error(input) if there is no row or the columns break the schema.
  void finish();

 private:
  struct Impl;
  explicit PromptWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::io
