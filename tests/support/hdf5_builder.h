#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::test {

/// Makes HDF5 files as other programs would, odd and broken ones too, through the C library alone,
/// so that the readers are not tested with the writers of this project.
class Hdf5Builder {
 public:
  explicit Hdf5Builder(const std::string& path);
  Hdf5Builder(const Hdf5Builder&) = delete;
  Hdf5Builder& operator=(const Hdf5Builder&) = delete;
  ~Hdf5Builder();

  hid_t file() const { return file_; }

  Hdf5Builder& group(const std::string& path);
  /// Strings of variable length, UTF-8, as h5py writes a list of str.
  Hdf5Builder& strings(const std::string& path, const std::vector<std::string>& values);
  Hdf5Builder& fixed_strings(const std::string& path, std::size_t width,
                             const std::vector<std::string>& values);
  /// A string of variable length with a zero byte inside, which no string function can write.
  Hdf5Builder& string_with_zero(const std::string& path, const std::string& value);
  Hdf5Builder& numbers(const std::string& path, const std::vector<std::int64_t>& values,
                       hid_t file_type = H5T_STD_I64LE);
  Hdf5Builder& floats(const std::string& path, const std::vector<double>& values,
                      hid_t file_type = H5T_IEEE_F64LE);
  /// The enumeration {FALSE, TRUE} that h5py writes.
  Hdf5Builder& booleans(const std::string& path, const std::vector<bool>& values);
  /// A dataset of any declared shape, of which nothing is written.
  Hdf5Builder& declared(const std::string& path, const std::vector<hsize_t>& shape, hid_t file_type,
                        const std::vector<hsize_t>& chunk = {});
  /// Flat data in another file.
  Hdf5Builder& external(const std::string& path, const std::string& other_file, hsize_t length);
  Hdf5Builder& virtual_dataset(const std::string& path, const std::string& other_file,
                               hsize_t length);
  Hdf5Builder& soft_link(const std::string& path, const std::string& target);
  Hdf5Builder& external_link(const std::string& path, const std::string& other_file,
                             const std::string& target);
  Hdf5Builder& attribute(const std::string& name, const std::string& value);
  Hdf5Builder& attribute(const std::string& name, std::int64_t value);
  Hdf5Builder& attribute(const std::string& name, double value);
  Hdf5Builder& attribute(const std::string& name, const std::vector<std::int64_t>& values);

  void close();

 private:
  void write(const std::string& path, hid_t file_type, hid_t memory_type,
             const std::vector<hsize_t>& shape, hid_t creation, const void* values);

  hid_t file_ = -1;
};

}  // namespace trireme::test
