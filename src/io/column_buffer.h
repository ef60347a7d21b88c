#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/hdf5_file.h"

namespace trireme::io {

/// Collects values for the end of a growing dataset and writes them in large pieces; flush() last.
template <typename T>
class ColumnBuffer {
 public:
  explicit ColumnBuffer(Hdf5Dataset dataset) : dataset_(std::move(dataset)) {}

  void add(T value) {
    values_.push_back(std::move(value));
    if (values_.size() >= kFlushValues) flush();
  }

  /// Values that belong together: a row of a dataset with more dimensions is never cut.
  void add_all(std::span<const T> values) {
    values_.insert(values_.end(), values.begin(), values.end());
    if (values_.size() >= kFlushValues) flush();
  }

  void flush() {
    if constexpr (std::is_same_v<T, std::string>) {
      dataset_.append_strings(values_);
    } else {
      dataset_.append(std::span<const T>(values_));
    }
    values_.clear();
  }

 private:
  static constexpr std::size_t kFlushValues = std::is_same_v<T, std::string> ? 4096 : 65'536;

  Hdf5Dataset dataset_;
  std::vector<T> values_;
};

/// Rows of different lengths: NAME/data and NAME/offsets.
template <typename T>
class RaggedBuffer {
 public:
  RaggedBuffer(Hdf5File& file, const std::string& name)
      : data_(file.create_appendable<T>(name + "/data")),
        offsets_(file.create_appendable<std::int64_t>(name + "/offsets")) {
    offsets_.add(0);
  }

  void add_row(std::span<const T> values) {
    data_.add_all(values);
    num_values_ += static_cast<std::int64_t>(values.size());
    offsets_.add(num_values_);
  }

  void flush() {
    data_.flush();
    offsets_.flush();
  }

 private:
  ColumnBuffer<T> data_;
  ColumnBuffer<std::int64_t> offsets_;
  std::int64_t num_values_ = 0;
};

/// The bytes of a text as they are stored.
inline std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace trireme::io
