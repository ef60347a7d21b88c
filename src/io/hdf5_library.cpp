#include "io/hdf5_library.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

namespace trireme::io {

static_assert(std::is_same_v<hid_t, std::int64_t>, "HDF5 1.10 or later is needed");

namespace {

// Of "file write failed: time = ..., errno = 28, error message = 'No space left on device', ..."
// the words that help.
std::string essence_of(std::string_view description) {
  constexpr std::string_view kMarker = "error message = '";
  const std::size_t marker = description.find(kMarker);
  const std::size_t colon = description.find(':');
  if (marker == std::string_view::npos || colon > marker) return std::string(description);
  const std::string_view message = description.substr(marker + kMarker.size());
  return cat(description.substr(0, colon), ": ", message.substr(0, message.find('\'')));
}

herr_t collect_description(unsigned, const H5E_error2_t* error, void* into) noexcept {
  try {
    static_cast<std::vector<std::string>*>(into)->push_back(essence_of(error->desc));
  } catch (...) {
    return -1;
  }
  return 0;
}

}  // namespace

void Hdf5IdTraits::destroy(type id) noexcept { H5Idec_ref(id); }

void prepare_hdf5() {
  // Files are closed by their owners. At exit the library would try once more to write what did not
  // fit on a full disk, and crash.
  static const bool is_without_exit_handler = (H5dont_atexit(), true);
  // The library keeps its error handler per thread and its plugin state per process.
  thread_local const bool is_silent = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  static const bool is_without_plugins = H5PLset_loading_state(0) >= 0;
  TRIREME_CHECK(is_without_exit_handler && is_silent && is_without_plugins, is_silent);
}

std::string hdf5_error_text() {
  std::vector<std::string> descriptions;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect_description, &descriptions);
  H5Eclear2(H5E_DEFAULT);
  if (descriptions.empty()) return "the HDF5 library gives no reason";
  std::string text = descriptions.front();
  if (descriptions.size() > 1 && descriptions.back() != text) {
    text += cat(" (", descriptions.back(), ")");
  }
  return text;
}

bool is_hdf5_boolean(hid_t type) {
  if (H5Tget_nmembers(type) != 2) return false;
  const Hdf5Id base = own_hdf5(H5Tget_super(type), ErrorKind::input, "enumeration");
  if (H5Tget_size(base.get()) != 1) return false;
  const std::array<const char*, 2> names = {"FALSE", "TRUE"};
  for (unsigned i = 0; i < 2; ++i) {
    signed char value = -1;
    if (H5Tenum_valueof(type, names[i], &value) < 0 || value != static_cast<signed char>(i)) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
  }
  return true;
}

template <>
hid_t hdf5_native_type<std::int8_t>() {
  return H5T_NATIVE_INT8;
}
template <>
hid_t hdf5_native_type<std::uint8_t>() {
  return H5T_NATIVE_UINT8;
}
template <>
hid_t hdf5_native_type<std::int16_t>() {
  return H5T_NATIVE_INT16;
}
template <>
hid_t hdf5_native_type<std::uint16_t>() {
  return H5T_NATIVE_UINT16;
}
template <>
hid_t hdf5_native_type<std::int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t hdf5_native_type<std::uint32_t>() {
  return H5T_NATIVE_UINT32;
}
template <>
hid_t hdf5_native_type<std::int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t hdf5_native_type<std::uint64_t>() {
  return H5T_NATIVE_UINT64;
}
template <>
hid_t hdf5_native_type<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t hdf5_native_type<double>() {
  return H5T_NATIVE_DOUBLE;
}

Hdf5Id hdf5_string_type(H5T_cset_t character_set) {
  Hdf5Id type = own_hdf5(H5Tcopy(H5T_C_S1), ErrorKind::internal, "HDF5 string type");
  hdf5_check(H5Tset_size(type.get(), H5T_VARIABLE), ErrorKind::internal, "HDF5 string type");
  hdf5_check(H5Tset_cset(type.get(), character_set), ErrorKind::internal, "HDF5 string type");
  return type;
}

}  // namespace trireme::io
