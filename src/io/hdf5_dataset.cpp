#include <limits>

#include "io/hdf5_library.h"

namespace trireme::io {
namespace {

void describe_type(hid_t type, DatasetInfo& info) {
  info.element_bytes = H5Tget_size(type);
  const std::string bits = cat(info.element_bytes * 8);
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      info.kind = ElementKind::integer;
      info.is_signed = H5Tget_sign(type) == H5T_SGN_2;
      info.type_name = (info.is_signed ? "int" : "uint") + bits;
      return;
    case H5T_ENUM: {
      const Hdf5Id base = own_hdf5(H5Tget_super(type), ErrorKind::input, "enumeration");
      info.is_signed = H5Tget_sign(base.get()) == H5T_SGN_2;
      info.kind = is_hdf5_boolean(type) ? ElementKind::boolean : ElementKind::integer;
      info.type_name = info.kind == ElementKind::boolean ? "bool" : "enum " + bits;
      return;
    }
    case H5T_FLOAT:
      info.kind = ElementKind::floating;
      info.type_name = "float" + bits;
      return;
    case H5T_STRING:
      info.kind =
          H5Tis_variable_str(type) > 0 ? ElementKind::vlen_string : ElementKind::fixed_string;
      info.type_name = info.kind == ElementKind::vlen_string
                           ? "vlen string"
                           : cat("string of ", info.element_bytes, " bytes");
      return;
    case H5T_COMPOUND:
      info.type_name = "compound";
      return;
    case H5T_VLEN:
      info.type_name = "vlen sequence";
      return;
    case H5T_REFERENCE:
      info.type_name = "reference";
      return;
    case H5T_OPAQUE:
      info.type_name = "opaque";
      return;
    default:
      info.type_name = "a type that is not read here";
  }
}

Hdf5Id file_space(hid_t dataset, const std::string& name) {
  return own_hdf5(H5Dget_space(dataset), ErrorKind::input, name);
}

// Selects rows [begin, begin + count) of all columns; gives the space of the selection in memory.
Hdf5Id select_rows(hid_t space, const std::vector<std::uint64_t>& shape, std::uint64_t begin,
                   std::uint64_t count, const std::string& name) {
  std::vector<hsize_t> start(shape.size(), 0);
  std::vector<hsize_t> extent(shape.begin(), shape.end());
  start[0] = begin;
  extent[0] = count;
  hdf5_check(
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr),
      ErrorKind::input, name);
  return own_hdf5(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr),
                  ErrorKind::input, name);
}

}  // namespace

Hdf5Dataset::Hdf5Dataset(Hdf5Id id, std::string name) : id_(std::move(id)), name_(std::move(name)) {
  refresh_info();
}

void Hdf5Dataset::refresh_info() {
  const Hdf5Id type = own_hdf5(H5Dget_type(id_.get()), ErrorKind::input, name_);
  describe_type(type.get(), info_);

  const Hdf5Id space = file_space(id_.get(), name_);
  const int ndim = hdf5_check(H5Sget_simple_extent_ndims(space.get()), ErrorKind::input, name_);
  std::vector<hsize_t> shape(static_cast<std::size_t>(ndim));
  if (ndim > 0) {
    hdf5_check(H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr), ErrorKind::input,
               name_);
  }
  info_.shape.assign(shape.begin(), shape.end());

  const Hdf5Id creation = own_hdf5(H5Dget_create_plist(id_.get()), ErrorKind::input, name_);
  const H5D_layout_t layout = H5Pget_layout(creation.get());
  info_.is_virtual = layout == H5D_VIRTUAL;
  info_.is_external = layout == H5D_CONTIGUOUS && H5Pget_external_count(creation.get()) > 0;
  info_.storage_bytes = info_.is_virtual ? 0 : H5Dget_storage_size(id_.get());
  info_.chunk_bytes = 0;
  if (layout == H5D_CHUNKED) {
    std::vector<hsize_t> chunk(shape.size());
    hdf5_check(H5Pget_chunk(creation.get(), ndim, chunk.data()), ErrorKind::input, name_);
    info_.chunk_bytes = info_.element_bytes;  // the library bounds a chunk by 4 GiB
    for (const hsize_t extent : chunk) info_.chunk_bytes *= extent;
  }
}

std::uint64_t Hdf5Dataset::row_elements() const {
  std::uint64_t product = 1;
  for (std::size_t i = 1; i < info_.shape.size(); ++i) {
    if (__builtin_mul_overflow(product, info_.shape[i], &product)) {
      fail(ErrorKind::input, cat(name_, ": its rows hold more elements than 64 bits count"));
    }
  }
  return product;
}

void Hdf5Dataset::check_rows(std::uint64_t begin, std::uint64_t count) const {
  TRIREME_CHECK(begin <= num_rows() && count <= num_rows() - begin, name_, ", ", begin, ", ", count,
                ", ", num_rows());
}

template <typename T>
void Hdf5Dataset::read(std::uint64_t begin, std::span<T> into) const {
  if (into.empty()) return;
  prepare_hdf5();
  const std::uint64_t elements = row_elements();
  TRIREME_CHECK(elements > 0 && into.size() % elements == 0, name_, ", ", into.size());
  const std::uint64_t count = into.size() / elements;
  check_rows(begin, count);

  const Hdf5Id space = file_space(id_.get(), name_);
  const Hdf5Id memory = select_rows(space.get(), info_.shape, begin, count, name_);
  hdf5_check(H5Dread(id_.get(), hdf5_native_type<T>(), memory.get(), space.get(), H5P_DEFAULT,
                     into.data()),
             ErrorKind::input, cat(name_, ": cannot read rows ", begin, " to ", begin + count - 1));
}

template <typename T>
std::vector<T> Hdf5Dataset::read(std::uint64_t begin, std::uint64_t count) const {
  check_rows(begin, count);
  std::uint64_t elements = 0;
  if (__builtin_mul_overflow(count, row_elements(), &elements) ||
      elements > std::numeric_limits<std::size_t>::max() / sizeof(T) / 2) {
    fail(ErrorKind::input, cat(name_, ": ", count, " rows are more than memory can hold"));
  }
  std::vector<T> values(elements);
  read(begin, std::span<T>(values));
  return values;
}

void Hdf5Dataset::write_behind(std::uint64_t count, std::int64_t memory_type, const void* values) {
  prepare_hdf5();
  const std::uint64_t begin = num_rows();
  std::vector<hsize_t> shape(info_.shape.begin(), info_.shape.end());
  shape[0] = begin + count;
  const std::string what = cat(name_, ": cannot write rows ", begin, " to ", begin + count - 1);
  hdf5_check(H5Dset_extent(id_.get(), shape.data()), ErrorKind::io, what);
  info_.shape[0] = begin + count;

  const Hdf5Id space = file_space(id_.get(), name_);
  const Hdf5Id memory = select_rows(space.get(), info_.shape, begin, count, name_);
  hdf5_check(H5Dwrite(id_.get(), memory_type, memory.get(), space.get(), H5P_DEFAULT, values),
             ErrorKind::io, what);
}

template <typename T>
void Hdf5Dataset::append(std::span<const T> values) {
  if (values.empty()) return;
  const std::uint64_t elements = row_elements();
  TRIREME_CHECK(elements > 0 && values.size() % elements == 0, name_, ", ", values.size());
  // Numbers are not converted to an enumeration: its values are given as the type itself.
  const Hdf5Id type = own_hdf5(H5Dget_type(id_.get()), ErrorKind::io, name_);
  const bool is_enum = H5Tget_class(type.get()) == H5T_ENUM;
  TRIREME_CHECK(!is_enum || sizeof(T) == info_.element_bytes, name_);
  write_behind(values.size() / elements, is_enum ? type.get() : hdf5_native_type<T>(),
               values.data());
}

#define TRIREME_INSTANTIATE(T)                                                      \
  template void Hdf5Dataset::read<T>(std::uint64_t, std::span<T>) const;            \
  template std::vector<T> Hdf5Dataset::read<T>(std::uint64_t, std::uint64_t) const; \
  template void Hdf5Dataset::append<T>(std::span<const T>);
TRIREME_INSTANTIATE(std::int8_t)
TRIREME_INSTANTIATE(std::uint8_t)
TRIREME_INSTANTIATE(std::int16_t)
TRIREME_INSTANTIATE(std::uint16_t)
TRIREME_INSTANTIATE(std::int32_t)
TRIREME_INSTANTIATE(std::uint32_t)
TRIREME_INSTANTIATE(std::int64_t)
TRIREME_INSTANTIATE(std::uint64_t)
TRIREME_INSTANTIATE(float)
TRIREME_INSTANTIATE(double)
#undef TRIREME_INSTANTIATE

}  // namespace trireme::io
