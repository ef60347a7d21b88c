#include <algorithm>
#include <cstring>
#include <memory>

#include "io/hdf5_library.h"

namespace trireme::io {
namespace {

// Where the library puts strings of variable length. It asks for length + 1 bytes each and appends
// a zero; remembering the size keeps zero bytes inside a string visible, and refusing beyond a
// limit keeps a small file, whose elements all name one long string, from filling the memory.
class StringArena {
 public:
  explicit StringArena(std::uint64_t max_bytes) : bytes_left_(max_bytes) {}

  static void* allocate(std::size_t size, void* arena) noexcept {
    try {
      return static_cast<StringArena*>(arena)->take(size);
    } catch (...) {
      return nullptr;
    }
  }
  static void release(void*, void*) noexcept {}

  bool was_exceeded() const { return was_exceeded_; }
  static std::string_view view(const char* string) {
    std::size_t size = 0;
    std::memcpy(&size, string - sizeof(std::size_t), sizeof(std::size_t));
    return {string, size - 1};
  }

 private:
  void* take(std::size_t size) {
    if (size > bytes_left_) {
      was_exceeded_ = true;
      return nullptr;
    }
    bytes_left_ -= size;
    const std::size_t padded =
        (size + 2 * sizeof(std::size_t) - 1) / sizeof(std::size_t) * sizeof(std::size_t);
    if (padded > block_left_) {
      block_left_ = std::max<std::size_t>(padded, std::size_t{64} << 10);
      blocks_.push_back(std::make_unique<char[]>(block_left_));
      free_ = blocks_.back().get();
    }
    char* const place = free_;
    free_ += padded;
    block_left_ -= padded;
    std::memcpy(place, &size, sizeof(std::size_t));
    return place + sizeof(std::size_t);
  }

  std::uint64_t bytes_left_;
  bool was_exceeded_ = false;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* free_ = nullptr;
  std::size_t block_left_ = 0;
};

std::string without_padding(std::string_view bytes, H5T_str_t padding) {
  if (padding == H5T_STR_NULLTERM) return std::string(bytes.substr(0, bytes.find('\0')));
  const char filler = padding == H5T_STR_SPACEPAD ? ' ' : '\0';
  const std::size_t last = bytes.find_last_not_of(filler);
  return std::string(bytes.substr(0, last == std::string_view::npos ? 0 : last + 1));
}

struct Selection {
  Hdf5Id file, memory;
};

Selection select_strings(hid_t dataset, std::uint64_t begin, std::uint64_t count,
                         const std::string& name) {
  Selection selection;
  selection.file = own_hdf5(H5Dget_space(dataset), ErrorKind::input, name);
  const hsize_t start = begin;
  const hsize_t extent = count;
  hdf5_check(
      H5Sselect_hyperslab(selection.file.get(), H5S_SELECT_SET, &start, nullptr, &extent, nullptr),
      ErrorKind::input, name);
  selection.memory = own_hdf5(H5Screate_simple(1, &extent, nullptr), ErrorKind::input, name);
  return selection;
}

}  // namespace

std::optional<std::vector<std::string>> Hdf5Dataset::read_strings(std::uint64_t begin,
                                                                  std::uint64_t count,
                                                                  std::uint64_t max_bytes) const {
  prepare_hdf5();
  TRIREME_CHECK(info_.shape.size() == 1, name_);
  check_rows(begin, count);
  if (count == 0) return std::vector<std::string>();
  return info_.kind == ElementKind::vlen_string ? read_vlen_strings(begin, count, max_bytes)
                                                : read_fixed_strings(begin, count, max_bytes);
}

std::optional<std::vector<std::string>> Hdf5Dataset::read_vlen_strings(
    std::uint64_t begin, std::uint64_t count, std::uint64_t max_bytes) const {
  TRIREME_CHECK(info_.kind == ElementKind::vlen_string, name_);
  const Hdf5Id file_type = own_hdf5(H5Dget_type(id_.get()), ErrorKind::input, name_);
  const Hdf5Id type = hdf5_string_type(H5Tget_cset(file_type.get()));
  const Selection selection = select_strings(id_.get(), begin, count, name_);

  StringArena arena(max_bytes + count);  // one appended zero each
  const Hdf5Id transfer = own_hdf5(H5Pcreate(H5P_DATASET_XFER), ErrorKind::internal, name_);
  hdf5_check(H5Pset_vlen_mem_manager(transfer.get(), StringArena::allocate, &arena,
                                     StringArena::release, &arena),
             ErrorKind::internal, name_);
  std::vector<char*> pointers(count, nullptr);
  const herr_t status = H5Dread(id_.get(), type.get(), selection.memory.get(), selection.file.get(),
                                transfer.get(), pointers.data());
  if (status < 0 && arena.was_exceeded()) {
    H5Eclear2(H5E_DEFAULT);
    return std::nullopt;
  }
  hdf5_check(status, ErrorKind::input,
             cat(name_, ": cannot read rows ", begin, " to ", begin + count - 1));
  std::vector<std::string> strings(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (pointers[i] != nullptr) strings[i] = StringArena::view(pointers[i]);
  }
  return strings;
}

std::optional<std::vector<std::string>> Hdf5Dataset::read_fixed_strings(
    std::uint64_t begin, std::uint64_t count, std::uint64_t max_bytes) const {
  TRIREME_CHECK(info_.kind == ElementKind::fixed_string, name_);
  const std::size_t width = info_.element_bytes;
  if (width > max_bytes / count) return std::nullopt;
  const Hdf5Id type = own_hdf5(H5Dget_type(id_.get()), ErrorKind::input, name_);
  const Selection selection = select_strings(id_.get(), begin, count, name_);
  std::string bytes(width * count, '\0');
  hdf5_check(H5Dread(id_.get(), type.get(), selection.memory.get(), selection.file.get(),
                     H5P_DEFAULT, bytes.data()),
             ErrorKind::input, cat(name_, ": cannot read rows ", begin, " to ", begin + count - 1));
  std::vector<std::string> strings;
  strings.reserve(count);
  const H5T_str_t padding = H5Tget_strpad(type.get());
  for (std::uint64_t i = 0; i < count; ++i) {
    strings.push_back(without_padding(std::string_view(bytes).substr(i * width, width), padding));
  }
  return strings;
}

void Hdf5Dataset::append_strings(std::span<const std::string> values) {
  if (values.empty()) return;
  prepare_hdf5();
  std::vector<const char*> pointers;
  pointers.reserve(values.size());
  for (const std::string& value : values) pointers.push_back(value.c_str());
  const Hdf5Id type = hdf5_string_type(H5T_CSET_UTF8);
  write_behind(values.size(), type.get(), pointers.data());
}

}  // namespace trireme::io
