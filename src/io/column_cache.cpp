#include "io/column_cache.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kReadAheadRows = 256;

}  // namespace

std::optional<std::string> StringCache::at(std::uint64_t row) {
  const bool is_next = row == last_ + 1;
  last_ = row;
  if (row >= begin_ && row - begin_ < strings_.size()) return strings_[row - begin_];

  const std::uint64_t count = is_next ? std::min(kReadAheadRows, dataset_.num_rows() - row) : 1;
  auto strings = dataset_.read_strings(row, count, kMaxRowBytes);
  if (!strings && count > 1) strings = dataset_.read_strings(row, 1, kMaxRowBytes);
  strings_.clear();
  if (!strings) return std::nullopt;
  begin_ = row;
  strings_ = std::move(*strings);
  return strings_.front();
}

ColumnCache::ColumnCache(Hdf5Dataset dataset) : kind_(dataset.info().kind) {
  const DatasetInfo& info = dataset.info();
  if (kind_ == ElementKind::vlen_string || kind_ == ElementKind::fixed_string) {
    cache_ = std::make_unique<StringCache>(std::move(dataset));
  } else if (kind_ == ElementKind::floating) {
    cache_ = std::make_unique<NumberCache<double>>(std::move(dataset));
  } else if (kind_ == ElementKind::integer && !info.is_signed) {
    cache_ = std::make_unique<NumberCache<std::uint64_t>>(std::move(dataset));
  } else {
    TRIREME_CHECK(kind_ != ElementKind::other, dataset.name());
    cache_ = std::make_unique<NumberCache<std::int64_t>>(std::move(dataset));
  }
}

std::optional<Json> ColumnCache::at(std::uint64_t row) {
  return std::visit(
      [&](auto& cache) -> std::optional<Json> {
        auto value = cache->at(row);
        if constexpr (std::is_same_v<decltype(value), std::optional<std::string>>) {
          if (!value) return std::nullopt;
          return Json(std::move(*value));
        } else {
          if (kind_ == ElementKind::boolean) return Json(value != 0);
          return Json(value);
        }
      },
      cache_);
}

const Hdf5Dataset& ColumnCache::dataset() const {
  return std::visit([](const auto& cache) -> const Hdf5Dataset& { return cache->dataset(); },
                    cache_);
}

}  // namespace trireme::io
