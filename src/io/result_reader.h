#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/json.h"
#include "io/result_row.h"

namespace trireme::io {

/// Reads a result file row by row. The file is not trusted: types, lengths and offsets are checked.
class ResultReader {
 public:
  /// Throws Error(missing), Error(input).
  static ResultReader open(const std::string& path);

  ResultReader(ResultReader&&) noexcept;
  ResultReader& operator=(ResultReader&&) noexcept;
  ~ResultReader();

  std::int64_t num_rows() const;
  /// The root attributes; strings, integers and floats.
  const Json& attributes() const;
  /// Row number `row` of the file, which is sorted by (index, sample).
  ResultRow read_row(std::int64_t row);

 private:
  struct Impl;
  explicit ResultReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::io
