#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "io/hdf5_file.h"

namespace trireme::io {

/// Longest text of one row that is read.
inline constexpr std::uint64_t kMaxRowBytes = std::uint64_t{64} << 20;

/// Values of a 1-d dataset one at a time, in any order: slices that were read stay, up to 8 MiB.
template <typename T>
class NumberCache {
 public:
  explicit NumberCache(Hdf5Dataset dataset) : dataset_(std::move(dataset)) {}

  T at(std::uint64_t row) {
    const std::uint64_t slice = row / kSliceRows;
    Slot& slot = slots_[slice % kSlots];
    if (slot.values.empty() || slot.slice != slice) {
      const std::uint64_t begin = slice * kSliceRows;
      slot.values = dataset_.read<T>(begin, std::min(kSliceRows, dataset_.num_rows() - begin));
      slot.slice = slice;
    }
    return slot.values.at(row - slice * kSliceRows);
  }

  const Hdf5Dataset& dataset() const { return dataset_; }

 private:
  static constexpr std::uint64_t kSliceRows = 4096;
  static constexpr std::uint64_t kSlots = 256;
  struct Slot {
    std::uint64_t slice = 0;
    std::vector<T> values;
  };

  Hdf5Dataset dataset_;
  std::array<Slot, kSlots> slots_;
};

/// Strings of a 1-d dataset one at a time. Rows asked for in order are read ahead; others alone.
class StringCache {
 public:
  explicit StringCache(Hdf5Dataset dataset) : dataset_(std::move(dataset)) {}

  /// None if it is longer than kMaxRowBytes. Zero bytes inside are kept.
  std::optional<std::string> at(std::uint64_t row);

  const Hdf5Dataset& dataset() const { return dataset_; }

 private:
  Hdf5Dataset dataset_;
  std::uint64_t begin_ = 0, last_ = ~std::uint64_t{0};
  std::vector<std::string> strings_;
};

/// An optional column: its values as JSON of the dataset's own type.
class ColumnCache {
 public:
  explicit ColumnCache(Hdf5Dataset dataset);

  /// An integer, float, boolean or string; none if a string is longer than kMaxRowBytes.
  std::optional<Json> at(std::uint64_t row);

  const Hdf5Dataset& dataset() const;

 private:
  ElementKind kind_;
  std::variant<std::unique_ptr<NumberCache<std::int64_t>>,
               std::unique_ptr<NumberCache<std::uint64_t>>, std::unique_ptr<NumberCache<double>>,
               std::unique_ptr<StringCache>>
      cache_;
};

}  // namespace trireme::io
