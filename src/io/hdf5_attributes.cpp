#include <algorithm>

#include "io/hdf5_library.h"

namespace trireme::io {
namespace {

constexpr hsize_t kMaxAttributes = 10'000;
constexpr std::size_t kMaxStringBytes = std::size_t{64} << 20;

Hdf5Id open_object(hid_t file, const std::string& object, const std::string& what) {
  return own_hdf5(H5Oopen(file, object.c_str(), H5P_DEFAULT), ErrorKind::input, what);
}

std::string read_vlen_string(hid_t attribute, hid_t file_type, hid_t space,
                             const std::string& what) {
  const Hdf5Id type = hdf5_string_type(H5Tget_cset(file_type));
  char* string = nullptr;
  hdf5_check(H5Aread(attribute, type.get(), &string), ErrorKind::input, what);
  std::string value = string == nullptr ? "" : string;
  H5Dvlen_reclaim(type.get(), space, H5P_DEFAULT, &string);
  return value;
}

std::string read_fixed_string(hid_t attribute, hid_t file_type, const std::string& what) {
  const std::size_t width = H5Tget_size(file_type);
  if (width > kMaxStringBytes) fail(ErrorKind::input, cat(what, ": a string of ", width, " bytes"));
  std::string value(width, '\0');
  hdf5_check(H5Aread(attribute, file_type, value.data()), ErrorKind::input, what);
  if (H5Tget_strpad(file_type) == H5T_STR_SPACEPAD) {
    value.erase(value.find_last_not_of(' ') + 1);
  } else {
    value.resize(std::min(value.find('\0'), value.size()));
  }
  return value;
}

template <typename T>
T read_number(hid_t attribute, const std::string& what) {
  T value{};
  hdf5_check(H5Aread(attribute, hdf5_native_type<T>(), &value), ErrorKind::input, what);
  return value;
}

Json read_scalar(hid_t attribute, hid_t type, hid_t space, const std::string& what) {
  const H5T_class_t type_class = H5Tget_class(type);
  if (type_class == H5T_STRING) {
    return H5Tis_variable_str(type) > 0 ? read_vlen_string(attribute, type, space, what)
                                        : read_fixed_string(attribute, type, what);
  }
  if (type_class == H5T_FLOAT) return read_number<double>(attribute, what);
  if (type_class == H5T_ENUM && is_hdf5_boolean(type)) {
    return read_number<std::int8_t>(attribute, what) != 0;
  }
  if (type_class != H5T_INTEGER && type_class != H5T_ENUM) return nullptr;
  if (type_class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE) {
    return read_number<std::uint64_t>(attribute, what);
  }
  return read_number<std::int64_t>(attribute, what);
}

void write_scalar(hid_t object, const std::string& name, hid_t type, const void* value,
                  const std::string& what) {
  const Hdf5Id space = own_hdf5(H5Screate(H5S_SCALAR), ErrorKind::internal, what);
  const Hdf5Id attribute =
      own_hdf5(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
               ErrorKind::io, what);
  hdf5_check(H5Awrite(attribute.get(), type, value), ErrorKind::io, what);
}

}  // namespace

std::vector<std::string> Hdf5File::attribute_names(const std::string& object) const {
  prepare_hdf5();
  const std::string what = name_of(object);
  const Hdf5Id id = open_object(id_.get(), object, what);
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5A_info_t*, void* into) -> herr_t {
    auto& list = *static_cast<std::vector<std::string>*>(into);
    if (list.size() >= kMaxAttributes) return -1;
    try {
      list.emplace_back(name);
    } catch (...) {
      return -1;
    }
    return 0;
  };
  hsize_t position = 0;
  hdf5_check(H5Aiterate2(id.get(), H5_INDEX_NAME, H5_ITER_INC, &position, collect, &names),
             ErrorKind::input,
             cat(what, ": cannot list the attributes (at most ", kMaxAttributes, ")"));
  return names;
}

Json Hdf5File::attribute(const std::string& object, const std::string& name) const {
  prepare_hdf5();
  const std::string what = cat(name_of(object), ": attribute ", name);
  const Hdf5Id id = open_object(id_.get(), object, what);
  const Hdf5Id attribute =
      own_hdf5(H5Aopen(id.get(), name.c_str(), H5P_DEFAULT), ErrorKind::input, what);
  const Hdf5Id type = own_hdf5(H5Aget_type(attribute.get()), ErrorKind::input, what);
  const Hdf5Id space = own_hdf5(H5Aget_space(attribute.get()), ErrorKind::input, what);
  const bool is_scalar = H5Sget_simple_extent_npoints(space.get()) == 1 &&
                         H5Sget_simple_extent_ndims(space.get()) <= 1;
  return is_scalar ? read_scalar(attribute.get(), type.get(), space.get(), what) : Json(nullptr);
}

std::int64_t Hdf5File::num_attribute_values(const std::string& object,
                                            const std::string& name) const {
  prepare_hdf5();
  const std::string what = cat(name_of(object), ": attribute ", name);
  const Hdf5Id id = open_object(id_.get(), object, what);
  const Hdf5Id attribute =
      own_hdf5(H5Aopen(id.get(), name.c_str(), H5P_DEFAULT), ErrorKind::input, what);
  const Hdf5Id space = own_hdf5(H5Aget_space(attribute.get()), ErrorKind::input, what);
  return H5Sget_simple_extent_npoints(space.get());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name,
                               const Json& value) {
  prepare_hdf5();
  const std::string what = cat(name_of(object), ": attribute ", name);
  const Hdf5Id id = open_object(id_.get(), object, what);
  if (value.is_string()) {
    // Variable length: h5py gives such a string back as str, and the heap takes more than 64 KiB.
    const Hdf5Id type = hdf5_string_type(H5T_CSET_UTF8);
    const char* text = value.get_ref<const std::string&>().c_str();
    write_scalar(id.get(), name, type.get(), &text, what);
  } else if (value.is_boolean()) {
    const std::uint8_t number = value.get<bool>() ? 1 : 0;
    write_scalar(id.get(), name, H5T_NATIVE_UINT8, &number, what);
  } else if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    const bool fits = number <= static_cast<std::uint64_t>(INT64_MAX);
    write_scalar(id.get(), name, fits ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, &number, what);
  } else if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    write_scalar(id.get(), name, H5T_NATIVE_INT64, &number, what);
  } else {
    TRIREME_CHECK(value.is_number_float(), what, ": only strings and numbers are attributes");
    const auto number = value.get<double>();
    write_scalar(id.get(), name, H5T_NATIVE_DOUBLE, &number, what);
  }
}

}  // namespace trireme::io
