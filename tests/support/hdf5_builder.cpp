#include "support/hdf5_builder.h"

#include <cstdlib>
#include <cstring>
#include <iostream>

namespace trireme::test {
namespace {

// A test that cannot make its file has nothing to say.
template <typename Status>
Status must(Status status, const std::string& what) {
  if (status < 0) {
    std::cerr << "cannot make the test file: " << what << '\n';
    H5Eprint2(H5E_DEFAULT, stderr);
    std::abort();
  }
  return status;
}

hid_t vlen_string_type() {
  const hid_t type = H5Tcopy(H5T_C_S1);
  must(H5Tset_size(type, H5T_VARIABLE), "string type");
  must(H5Tset_cset(type, H5T_CSET_UTF8), "string type");
  return type;
}

}  // namespace

Hdf5Builder::Hdf5Builder(const std::string& path) {
  H5dont_atexit();  // as the program does; it counts only before the library's first use
  file_ = must(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), path);
}

Hdf5Builder::~Hdf5Builder() { close(); }

void Hdf5Builder::close() {
  if (file_ >= 0) must(H5Fclose(file_), "close");
  file_ = -1;
}

void Hdf5Builder::write(const std::string& path, hid_t file_type, hid_t memory_type,
                        const std::vector<hsize_t>& shape, hid_t creation, const void* values) {
  const hid_t space = shape.empty()
                          ? H5Screate(H5S_SCALAR)
                          : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  const hid_t dataset = must(
      H5Dcreate2(file_, path.c_str(), file_type, must(space, path), links, creation, H5P_DEFAULT),
      path);
  const bool has_values = values != nullptr && H5Sget_simple_extent_npoints(space) > 0;
  if (has_values) must(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path);
  H5Dclose(dataset);
  H5Pclose(links);
  H5Sclose(space);
}

Hdf5Builder& Hdf5Builder::group(const std::string& path) {
  H5Gclose(must(H5Gcreate2(file_, path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), path));
  return *this;
}

Hdf5Builder& Hdf5Builder::strings(const std::string& path, const std::vector<std::string>& values) {
  std::vector<const char*> pointers;
  for (const std::string& value : values) pointers.push_back(value.c_str());
  const hid_t type = vlen_string_type();
  write(path, type, type, {values.size()}, H5P_DEFAULT, pointers.data());
  H5Tclose(type);
  return *this;
}

Hdf5Builder& Hdf5Builder::fixed_strings(const std::string& path, std::size_t width,
                                        const std::vector<std::string>& values) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  must(H5Tset_size(type, width), path);
  must(H5Tset_strpad(type, H5T_STR_NULLPAD), path);
  std::string bytes;
  for (std::string value : values) {
    value.resize(width, '\0');
    bytes += value;
  }
  write(path, type, type, {values.size()}, H5P_DEFAULT, bytes.data());
  H5Tclose(type);
  return *this;
}

Hdf5Builder& Hdf5Builder::string_with_zero(const std::string& path, const std::string& value) {
  // The library stores such a string as a sequence of characters.
  const hid_t file_type = vlen_string_type();
  const hid_t memory_type = H5Tvlen_create(H5T_NATIVE_UCHAR);
  std::string copy = value;
  const hvl_t sequence = {copy.size(), copy.data()};
  write(path, file_type, memory_type, {1}, H5P_DEFAULT, &sequence);
  H5Tclose(memory_type);
  H5Tclose(file_type);
  return *this;
}

Hdf5Builder& Hdf5Builder::numbers(const std::string& path, const std::vector<std::int64_t>& values,
                                  hid_t file_type) {
  write(path, file_type, H5T_NATIVE_INT64, {values.size()}, H5P_DEFAULT, values.data());
  return *this;
}

Hdf5Builder& Hdf5Builder::floats(const std::string& path, const std::vector<double>& values,
                                 hid_t file_type) {
  write(path, file_type, H5T_NATIVE_DOUBLE, {values.size()}, H5P_DEFAULT, values.data());
  return *this;
}

Hdf5Builder& Hdf5Builder::booleans(const std::string& path, const std::vector<bool>& values) {
  const hid_t type = H5Tenum_create(H5T_STD_I8LE);
  const signed char zero = 0;
  const signed char one = 1;
  must(H5Tenum_insert(type, "FALSE", &zero), path);
  must(H5Tenum_insert(type, "TRUE", &one), path);
  const std::vector<signed char> bytes(values.begin(), values.end());
  write(path, type, type, {values.size()}, H5P_DEFAULT, bytes.data());
  H5Tclose(type);
  return *this;
}

Hdf5Builder& Hdf5Builder::declared(const std::string& path, const std::vector<hsize_t>& shape,
                                   hid_t file_type, const std::vector<hsize_t>& chunk) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  if (!chunk.empty()) {
    must(H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()), path);
  }
  write(path, file_type, file_type, shape, creation, nullptr);
  H5Pclose(creation);
  return *this;
}

Hdf5Builder& Hdf5Builder::external(const std::string& path, const std::string& other_file,
                                   hsize_t length) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  must(H5Pset_external(creation, other_file.c_str(), 0, length), path);
  write(path, H5T_STD_U8LE, H5T_STD_U8LE, {length}, creation, nullptr);
  H5Pclose(creation);
  return *this;
}

Hdf5Builder& Hdf5Builder::virtual_dataset(const std::string& path, const std::string& other_file,
                                          hsize_t length) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const hid_t space = H5Screate_simple(1, &length, nullptr);
  must(H5Pset_virtual(creation, space, other_file.c_str(), "/data", space), path);
  write(path, H5T_STD_U8LE, H5T_STD_U8LE, {length}, creation, nullptr);
  H5Sclose(space);
  H5Pclose(creation);
  return *this;
}

Hdf5Builder& Hdf5Builder::soft_link(const std::string& path, const std::string& target) {
  must(H5Lcreate_soft(target.c_str(), file_, path.c_str(), H5P_DEFAULT, H5P_DEFAULT), path);
  return *this;
}

Hdf5Builder& Hdf5Builder::external_link(const std::string& path, const std::string& other_file,
                                        const std::string& target) {
  must(H5Lcreate_external(other_file.c_str(), target.c_str(), file_, path.c_str(), H5P_DEFAULT,
                          H5P_DEFAULT),
       path);
  return *this;
}

namespace {

void write_attribute(hid_t file, const std::string& name, hid_t type, const void* value,
                     hsize_t count = 0) {
  const hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr);
  const hid_t attribute =
      must(H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), name);
  must(H5Awrite(attribute, type, value), name);
  H5Aclose(attribute);
  H5Sclose(space);
}

}  // namespace

Hdf5Builder& Hdf5Builder::attribute(const std::string& name, const std::string& value) {
  const hid_t type = vlen_string_type();
  const char* pointer = value.c_str();
  write_attribute(file_, name, type, &pointer);
  H5Tclose(type);
  return *this;
}

Hdf5Builder& Hdf5Builder::attribute(const std::string& name, std::int64_t value) {
  write_attribute(file_, name, H5T_NATIVE_INT64, &value);
  return *this;
}

Hdf5Builder& Hdf5Builder::attribute(const std::string& name, double value) {
  write_attribute(file_, name, H5T_NATIVE_DOUBLE, &value);
  return *this;
}

Hdf5Builder& Hdf5Builder::attribute(const std::string& name,
                                    const std::vector<std::int64_t>& values) {
  write_attribute(file_, name, H5T_NATIVE_INT64, values.data(), values.size());
  return *this;
}

}  // namespace trireme::test
