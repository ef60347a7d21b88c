#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "io/column_cache.h"
#include "io/prompt_schema.h"
#include "io/utf8.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kSliceRows = 65'536;
constexpr std::uint64_t kStringSliceRows = 4096;

void check_first_and_last(const Hdf5Dataset& offsets, std::uint64_t data_length) {
  const std::int64_t first = offsets.read<std::int64_t>(0, 1)[0];
  if (first != 0)
    fail(ErrorKind::input, cat(offsets.name(), ": begins with ", first, ", expected 0"));
  const std::int64_t last = offsets.read<std::int64_t>(offsets.num_rows() - 1, 1)[0];
  if (last < 0 || static_cast<std::uint64_t>(last) != data_length) {
    fail(ErrorKind::input, cat(offsets.name(), ": ends with ", last, ", expected ", data_length,
                               ", the length of the data"));
  }
}

// FNV-1a, then a finaliser so that all bits depend on all bytes.
std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
  return hash ^ (hash >> 31);
}

void for_each_string(const Hdf5Dataset& column,
                     const std::function<void(std::uint64_t row, std::string&)>& visit) {
  for (std::uint64_t begin = 0; begin < column.num_rows();) {
    const std::uint64_t count = std::min(kStringSliceRows, column.num_rows() - begin);
    auto strings = column.read_strings(begin, count, kMaxRowBytes);
    if (!strings) strings = column.read_strings(begin, 1, kMaxRowBytes);
    if (!strings) {
      fail(ErrorKind::input,
           cat(column.name(), ": row ", begin, " is longer than ", kMaxRowBytes, " bytes"));
    }
    for (std::uint64_t i = 0; i < strings->size(); ++i) visit(begin + i, (*strings)[i]);
    begin += strings->size();
  }
}

void check_id_text(const Hdf5Dataset& ids, std::uint64_t row, const std::string& id) {
  if (id.find('\0') != std::string::npos) {
    fail(ErrorKind::input, cat(ids.name(), ": row ", row, " holds a zero byte"));
  }
  if (const auto offset = invalid_utf8_offset(id)) {
    fail(ErrorKind::input, cat(ids.name(), ": row ", row, ": bad UTF-8 at byte ", *offset));
  }
}

[[noreturn]] void fail_duplicate(const Hdf5Dataset& ids, std::uint64_t first, std::uint64_t second,
                                 const std::string& id) {
  fail(ErrorKind::input, cat(ids.name(), ": rows ", first, " and ", second, " both have ", id,
                             ", ids must be unique"));
}

// The values that stand at least twice in a list, each once.
template <typename T>
std::vector<T> repeated(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  std::vector<T> found;
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] == values[i - 1] && (found.empty() || found.back() != values[i])) {
      found.push_back(values[i]);
    }
  }
  return found;
}

void check_string_ids(const Hdf5Dataset& ids) {
  std::vector<std::uint64_t> hashes;
  hashes.reserve(ids.num_rows());
  for_each_string(ids, [&](std::uint64_t row, std::string& id) {
    check_id_text(ids, row, id);
    if (!id.empty()) hashes.push_back(hash_of(id));  // an empty one is none
  });
  const std::vector<std::uint64_t> suspects = repeated(std::move(hashes));
  if (suspects.empty()) return;
  // Equal hashes need not mean equal ids.
  std::unordered_map<std::string, std::uint64_t> seen;
  for_each_string(ids, [&](std::uint64_t row, std::string& id) {
    if (id.empty() || !std::binary_search(suspects.begin(), suspects.end(), hash_of(id))) return;
    const auto [place, is_new] = seen.try_emplace(id, row);
    if (!is_new) fail_duplicate(ids, place->second, row, cat("\"", id.substr(0, 80), "\""));
  });
}

template <typename T>
void for_each_number(const Hdf5Dataset& column,
                     const std::function<void(std::uint64_t, T)>& visit) {
  for (std::uint64_t begin = 0; begin < column.num_rows(); begin += kSliceRows) {
    const auto values = column.read<T>(begin, std::min(kSliceRows, column.num_rows() - begin));
    for (std::uint64_t i = 0; i < values.size(); ++i) visit(begin + i, values[i]);
  }
}

void check_integer_ids(const Hdf5Dataset& ids) {
  std::vector<std::int64_t> values;
  values.reserve(ids.num_rows());
  if (!ids.info().is_signed) {
    for_each_number<std::uint64_t>(ids, [&](std::uint64_t row, std::uint64_t id) {
      if (id <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return;
      fail(ErrorKind::input, cat(ids.name(), ": row ", row, " is ", id, ", expected an int64"));
    });
  }
  for_each_number<std::int64_t>(ids, [&](std::uint64_t, std::int64_t id) { values.push_back(id); });
  const std::vector<std::int64_t> twice = repeated(std::move(values));
  if (twice.empty()) return;
  std::optional<std::uint64_t> first;
  for_each_number<std::int64_t>(ids, [&](std::uint64_t row, std::int64_t id) {
    if (id != twice.front()) return;
    if (first) fail_duplicate(ids, *first, row, cat(id));
    first = row;
  });
}

}  // namespace

void check_offsets(const Hdf5Dataset& offsets, std::uint64_t data_length, bool from_end_to_end) {
  check_first_and_last(offsets, data_length);
  if (!from_end_to_end) return;
  std::int64_t before = 0;
  for_each_number<std::int64_t>(offsets, [&](std::uint64_t i, std::int64_t offset) {
    if (offset < before) {
      fail(ErrorKind::input, cat(offsets.name(), ": value ", i, " is ", offset,
                                 ", expected at least ", before, ", the one before it"));
    }
    before = offset;
  });
}

void check_custom_ids(const Hdf5Dataset& ids) {
  if (ids.info().kind == ElementKind::integer) {
    check_integer_ids(ids);
  } else {
    check_string_ids(ids);
  }
}

}  // namespace trireme::io
