#pragma once

#include <cstdint>
#include <memory>

#include "io/hdf5_file.h"
#include "io/result_row.h"

namespace trireme::io {

/// What the rows of a result file have, which decides about its columns.
struct ResultShape {
  bool has_integer_ids = true;  ///< all ids are integers; false: they are written as strings
  bool has_logprobs = false;
  bool has_prompt_logprobs = false;
  std::int32_t top_k = 0;

  /// Widens the shape so that it holds `row` as well.
  void include(const ResultRow& row);
};

/// The columns of a result file that is being written.
class ResultColumns {
 public:
  ResultColumns(Hdf5File& file, const ResultShape& shape);
  ResultColumns(ResultColumns&&) noexcept;
  ~ResultColumns();

  void add(const ResultRow& row);
  /// Writes what is buffered. The columns must be gone before the file is closed.
  void flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::io
