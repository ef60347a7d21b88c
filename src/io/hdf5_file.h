#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/handle.h"
#include "base/json.h"

namespace trireme::io {

/// Any identifier of the HDF5 library (its hid_t, which is a 64-bit integer).
struct Hdf5IdTraits {
  using type = std::int64_t;
  static type null() { return -1; }
  static void destroy(type id) noexcept;
};
using Hdf5Id = UniqueHandle<Hdf5IdTraits>;

enum class ElementKind : std::uint8_t {
  integer,  ///< enumerations over integers too, except boolean
  floating,
  boolean,  ///< the enumeration {FALSE, TRUE} that h5py writes for bool
  fixed_string,
  vlen_string,
  other,
};

/// What a dataset declares; nothing of it says that the data are there.
struct DatasetInfo {
  ElementKind kind = ElementKind::other;
  std::string type_name;             ///< such as "int64", "vlen string", for messages
  std::size_t element_bytes = 0;     ///< on file
  bool is_signed = false;            ///< integers
  std::vector<std::uint64_t> shape;  ///< empty: a scalar
  std::uint64_t storage_bytes = 0;   ///< really allocated in the file
  std::uint64_t chunk_bytes = 0;     ///< of one chunk in memory; 0: not chunked
  bool is_external = false, is_virtual = false;
};

/// One open dataset. T is any of std::(u)int8_t to std::(u)int64_t, float, double; HDF5 converts.
class Hdf5Dataset {
 public:
  const DatasetInfo& info() const { return info_; }
  /// How errors call it, such as "prompts.h5: /max_tokens".
  const std::string& name() const { return name_; }
  /// First dimension; 0 of a scalar.
  std::uint64_t num_rows() const { return info_.shape.empty() ? 0 : info_.shape[0]; }
  /// Elements of one row: the product of the other dimensions.
  std::uint64_t row_elements() const;

  /// Rows from `begin`, as many as `into` holds: into.size() is a multiple of row_elements(). The
  /// range must lie inside the dataset. Throws Error(input).
  template <typename T>
  void read(std::uint64_t begin, std::span<T> into) const;
  template <typename T>
  std::vector<T> read(std::uint64_t begin, std::uint64_t count) const;

  /// `count` strings of a 1-d dataset from `begin`, padding removed, zero bytes inside kept. None
  /// if they hold more than `max_bytes` together: nothing larger is ever allocated. Throws
  /// Error(input).
  std::optional<std::vector<std::string>> read_strings(std::uint64_t begin, std::uint64_t count,
                                                       std::uint64_t max_bytes) const;

  /// Writes rows behind the last; only for datasets that create_appendable() and its like made.
  /// Throws Error(io).
  template <typename T>
  void append(std::span<const T> values);
  void append_strings(std::span<const std::string> values);

 private:
  friend class Hdf5File;
  Hdf5Dataset(Hdf5Id id, std::string name);
  void refresh_info();
  void check_rows(std::uint64_t begin, std::uint64_t count) const;
  std::optional<std::vector<std::string>> read_vlen_strings(std::uint64_t begin,
                                                            std::uint64_t count,
                                                            std::uint64_t max_bytes) const;
  std::optional<std::vector<std::string>> read_fixed_strings(std::uint64_t begin,
                                                             std::uint64_t count,
                                                             std::uint64_t max_bytes) const;
  void write_behind(std::uint64_t num_rows, std::int64_t memory_type, const void* values);

  Hdf5Id id_;
  std::string name_;
  DatasetInfo info_;
};

/// What stands under a name in a group.
struct LinkInfo {
  enum class Kind : std::uint8_t { hard, soft, external, other };
  enum class Target : std::uint8_t { dataset, group, other };
  std::string name;
  Kind kind = Kind::hard;
  Target target = Target::other;  ///< other as well if the link leads nowhere
};

/// One HDF5 file through the C library, serial. Nothing is printed by the library, no filter
/// plugins are loaded, files are locked only where the file system can. Errors carry the library's
/// own words.
class Hdf5File {
 public:
  /// Read-only. Throws Error(missing), or Error(input) if it is no HDF5 file.
  static Hdf5File open(const std::string& path);

  enum class Existing : std::uint8_t { refuse, replace };
  /// A new file, readable by HDF5 1.8 and later. Throws Error(output).
  static Hdf5File create(const std::string& path, Existing existing);

  /// Writes what is still in memory; a file that was created must be closed by this, since only so
  /// a full disk is noticed. Throws Error(io). All datasets must be gone before.
  void close();

  const std::string& path() const { return path_; }

  /// Names in a group, sorted. Throws Error(input) if it is none.
  std::vector<LinkInfo> links(const std::string& group) const;
  /// Follows links: check links() first where that matters.
  bool has_group(const std::string& path) const;
  /// None if there is nothing of that name. Follows links: check links() first where that matters.
  std::optional<Hdf5Dataset> find_dataset(const std::string& path) const;
  /// Throws Error(input) if there is no such dataset.
  Hdf5Dataset dataset(const std::string& path) const;

  /// Names of the attributes of an object ("/" = the root), sorted.
  std::vector<std::string> attribute_names(const std::string& object) const;
  /// A scalar attribute as string, integer, float or boolean; null if it is of another kind. Throws
  /// Error(input) if it is not there or cannot be read.
  Json attribute(const std::string& object, const std::string& name) const;
  /// How many values it has: 1 of a scalar, 0 of an empty one.
  std::int64_t num_attribute_values(const std::string& object, const std::string& name) const;
  void write_attribute(const std::string& object, const std::string& name, const Json& value);

  void create_group(const std::string& path);
  /// Copies an object of another file, of the same name, as it is.
  void copy(const Hdf5File& from, const std::string& path);
  /// A whole dataset of any shape, compressed if it is larger than 16 KiB.
  template <typename T>
  void write(const std::string& path, std::span<const T> values,
             const std::vector<std::uint64_t>& shape);
  template <typename T>
  void write(const std::string& path, const std::vector<T>& values) {
    write(path, std::span<const T>(values), {values.size()});
  }
  void write_strings(const std::string& path, std::span<const std::string> values);

  /// Datasets of 0 rows that grow by append(): chunks of 1 MiB, shuffle, gzip 1. `row_shape` holds
  /// the dimensions after the first.
  template <typename T>
  Hdf5Dataset create_appendable(const std::string& path,
                                const std::vector<std::uint64_t>& row_shape = {});
  /// uint8 with names for 0, 1, ...; append<std::uint8_t>().
  Hdf5Dataset create_appendable_enum(const std::string& path, std::span<const char* const> names);
  Hdf5Dataset create_appendable_strings(const std::string& path);

 private:
  Hdf5File(Hdf5Id id, std::string path);
  Hdf5Dataset create_growing(const std::string& path, std::int64_t type,
                             const std::vector<std::uint64_t>& row_shape);
  std::string name_of(const std::string& object) const;

  Hdf5Id id_;
  std::string path_;
};

}  // namespace trireme::io
