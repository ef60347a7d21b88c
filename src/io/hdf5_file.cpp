#include "io/hdf5_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/hdf5_library.h"

namespace trireme::io {
namespace {

constexpr std::size_t kMaxLinks = 10'000;           // names in one group
constexpr std::uint64_t kCacheBytes = 16ULL << 20;  // decompressed chunks kept of one dataset
constexpr std::uint64_t kChunkBytes = 1ULL << 20;
constexpr std::uint64_t kCompressFrom = 16ULL << 10;

Hdf5Id file_access(const std::string& path) {
  Hdf5Id access = own_hdf5(H5Pcreate(H5P_FILE_ACCESS), ErrorKind::internal, path);
  // Locks where the file system has them; many parallel file systems do not.
  hdf5_check(H5Pset_file_locking(access.get(), true, true), ErrorKind::internal, path);
  hdf5_check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_EARLIEST, H5F_LIBVER_V110),
             ErrorKind::internal, path);
  return access;
}

// The library follows a path of several names only if each is there.
bool link_exists(hid_t file, const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (part != "/" && H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
    if (end == std::string::npos) return true;
  }
}

LinkInfo::Kind kind_of(H5L_type_t type) {
  switch (type) {
    case H5L_TYPE_HARD:
      return LinkInfo::Kind::hard;
    case H5L_TYPE_SOFT:
      return LinkInfo::Kind::soft;
    case H5L_TYPE_EXTERNAL:
      return LinkInfo::Kind::external;
    default:
      return LinkInfo::Kind::other;
  }
}

LinkInfo::Target target_of(hid_t group, const std::string& name, const std::string& what) {
  const Hdf5Id object =
      own_hdf5(H5Oopen(group, name.c_str(), H5P_DEFAULT), ErrorKind::input, cat(what, "/", name));
  switch (H5Iget_type(object.get())) {
    case H5I_DATASET:
      return LinkInfo::Target::dataset;
    case H5I_GROUP:
      return LinkInfo::Target::group;
    default:
      return LinkInfo::Target::other;
  }
}

}  // namespace

Hdf5File::Hdf5File(Hdf5Id id, std::string path) : id_(std::move(id)), path_(std::move(path)) {}

Hdf5File Hdf5File::open(const std::string& path) {
  prepare_hdf5();
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || ::access(path.c_str(), R_OK) != 0) {
    fail(ErrorKind::missing, cat(path, ": cannot be read: ", std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorKind::input, cat(path, ": is not a regular file, an HDF5 file was expected"));
  }
  const Hdf5Id access = file_access(path);
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  return Hdf5File(
      own_hdf5(id, ErrorKind::input, cat(path, ": is not an HDF5 file, or a broken one")), path);
}

Hdf5File Hdf5File::create(const std::string& path, Existing existing) {
  prepare_hdf5();
  const Hdf5Id access = file_access(path);
  // An open dataset would keep the file open behind a close() that seems to succeed.
  hdf5_check(H5Pset_fclose_degree(access.get(), H5F_CLOSE_SEMI), ErrorKind::internal, path);
  const unsigned flags = existing == Existing::replace ? H5F_ACC_TRUNC : H5F_ACC_EXCL;
  const hid_t id = H5Fcreate(path.c_str(), flags, H5P_DEFAULT, access.get());
  return Hdf5File(own_hdf5(id, ErrorKind::output, cat(path, ": cannot be created")), path);
}

void Hdf5File::close() {
  if (!id_) return;
  hdf5_check(H5Fflush(id_.get(), H5F_SCOPE_LOCAL), ErrorKind::io,
             cat(path_, ": cannot be written"));
  hdf5_check(H5Fclose(id_.get()), ErrorKind::io, cat(path_, ": cannot be closed"));
  id_.release();
}

std::string Hdf5File::name_of(const std::string& object) const { return cat(path_, ": ", object); }

std::vector<LinkInfo> Hdf5File::links(const std::string& group) const {
  prepare_hdf5();
  const std::string what = name_of(group);
  const Hdf5Id id =
      own_hdf5(H5Gopen2(id_.get(), group.c_str(), H5P_DEFAULT), ErrorKind::input, what);
  H5G_info_t info{};
  hdf5_check(H5Gget_info(id.get(), &info), ErrorKind::input, what);
  if (info.nlinks > kMaxLinks) {
    fail(ErrorKind::input,
         cat(what, ": holds ", info.nlinks, " names, at most ", kMaxLinks, " are read"));
  }
  std::vector<LinkInfo> links;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const ssize_t length = hdf5_check(
        H5Lget_name_by_idx(id.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT),
        ErrorKind::input, what);
    std::string name(static_cast<std::size_t>(length) + 1, '\0');
    hdf5_check(H5Lget_name_by_idx(id.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(),
                                  name.size(), H5P_DEFAULT),
               ErrorKind::input, what);
    name.resize(static_cast<std::size_t>(length));

    H5L_info_t link{};
    hdf5_check(H5Lget_info(id.get(), name.c_str(), &link, H5P_DEFAULT), ErrorKind::input, what);
    LinkInfo found;
    found.kind = kind_of(link.type);
    // Other links are not followed here: an external one opens any file.
    if (found.kind == LinkInfo::Kind::hard) found.target = target_of(id.get(), name, what);
    found.name = std::move(name);
    links.push_back(std::move(found));
  }
  return links;
}

bool Hdf5File::has_group(const std::string& path) const {
  prepare_hdf5();
  if (!link_exists(id_.get(), path)) return false;
  const Hdf5Id group(H5Gopen2(id_.get(), path.c_str(), H5P_DEFAULT));
  if (!group) H5Eclear2(H5E_DEFAULT);
  return static_cast<bool>(group);
}

std::optional<Hdf5Dataset> Hdf5File::find_dataset(const std::string& path) const {
  prepare_hdf5();
  if (!link_exists(id_.get(), path)) return std::nullopt;
  const Hdf5Id access = own_hdf5(H5Pcreate(H5P_DATASET_ACCESS), ErrorKind::internal, path);
  const std::string what = cat(name_of(path), ": cannot be opened as a dataset");
  Hdf5Dataset dataset(
      own_hdf5(H5Dopen2(id_.get(), path.c_str(), H5P_DEFAULT), ErrorKind::input, what),
      name_of(path));
  if (dataset.info().chunk_bytes == 0) return dataset;
  // Rows are read in any order: a chunk that does not fit the cache is decompressed for each.
  hdf5_check(H5Pset_chunk_cache(access.get(), 4099,
                                std::max(kCacheBytes, dataset.info().chunk_bytes), 0.75),
             ErrorKind::internal, path);
  dataset.id_ = Hdf5Id();
  return Hdf5Dataset(
      own_hdf5(H5Dopen2(id_.get(), path.c_str(), access.get()), ErrorKind::input, what),
      name_of(path));
}

Hdf5Dataset Hdf5File::dataset(const std::string& path) const {
  std::optional<Hdf5Dataset> found = find_dataset(path);
  if (!found) fail(ErrorKind::input, cat(name_of(path), ": is not there"));
  return std::move(*found);
}

void Hdf5File::create_group(const std::string& path) {
  prepare_hdf5();
  own_hdf5(H5Gcreate2(id_.get(), path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
           ErrorKind::io, name_of(path));
}

void Hdf5File::copy(const Hdf5File& from, const std::string& path) {
  prepare_hdf5();
  hdf5_check(
      H5Ocopy(from.id_.get(), path.c_str(), id_.get(), path.c_str(), H5P_DEFAULT, H5P_DEFAULT),
      ErrorKind::io, cat(from.name_of(path), ": cannot be copied to ", path_));
}

namespace {

Hdf5Id creation_of_links() {
  Hdf5Id links = own_hdf5(H5Pcreate(H5P_LINK_CREATE), ErrorKind::internal, "HDF5 link properties");
  hdf5_check(H5Pset_create_intermediate_group(links.get(), 1), ErrorKind::internal,
             "HDF5 link properties");
  return links;
}

Hdf5Id creation_of_chunks(const std::vector<hsize_t>& chunk, const std::string& what) {
  Hdf5Id creation = own_hdf5(H5Pcreate(H5P_DATASET_CREATE), ErrorKind::internal, what);
  hdf5_check(H5Pset_obj_track_times(creation.get(), false), ErrorKind::internal, what);
  if (chunk.empty()) return creation;
  hdf5_check(H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()),
             ErrorKind::internal, what);
  hdf5_check(H5Pset_shuffle(creation.get()), ErrorKind::internal, what);
  hdf5_check(H5Pset_deflate(creation.get(), 1), ErrorKind::internal, what);
  return creation;
}

// Chunks of about 1 MiB that span whole rows.
std::vector<hsize_t> chunk_of(const std::vector<hsize_t>& shape, std::uint64_t element_bytes) {
  std::vector<hsize_t> chunk = shape;
  std::uint64_t row_bytes = element_bytes;
  for (std::size_t i = 1; i < shape.size(); ++i) row_bytes *= shape[i];
  chunk[0] = std::max<std::uint64_t>(1, kChunkBytes / std::max<std::uint64_t>(1, row_bytes));
  return chunk;
}

}  // namespace

Hdf5Dataset Hdf5File::create_growing(const std::string& path, std::int64_t type,
                                     const std::vector<std::uint64_t>& row_shape) {
  prepare_hdf5();
  const std::string what = name_of(path);
  std::vector<hsize_t> shape = {0};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  std::vector<hsize_t> largest = shape;
  largest[0] = H5S_UNLIMITED;
  const Hdf5Id space =
      own_hdf5(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), largest.data()),
               ErrorKind::internal, what);
  const Hdf5Id links = creation_of_links();
  const Hdf5Id creation = creation_of_chunks(chunk_of(shape, H5Tget_size(type)), what);
  return Hdf5Dataset(own_hdf5(H5Dcreate2(id_.get(), path.c_str(), type, space.get(), links.get(),
                                         creation.get(), H5P_DEFAULT),
                              ErrorKind::io, cat(what, ": cannot be created")),
                     what);
}

template <typename T>
Hdf5Dataset Hdf5File::create_appendable(const std::string& path,
                                        const std::vector<std::uint64_t>& row_shape) {
  return create_growing(path, hdf5_native_type<T>(), row_shape);
}

Hdf5Dataset Hdf5File::create_appendable_enum(const std::string& path,
                                             std::span<const char* const> names) {
  prepare_hdf5();
  const std::string what = name_of(path);
  const Hdf5Id type = own_hdf5(H5Tenum_create(H5T_NATIVE_UINT8), ErrorKind::internal, what);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto value = static_cast<std::uint8_t>(i);
    hdf5_check(H5Tenum_insert(type.get(), names[i], &value), ErrorKind::internal, what);
  }
  return create_growing(path, type.get(), {});
}

Hdf5Dataset Hdf5File::create_appendable_strings(const std::string& path) {
  prepare_hdf5();
  return create_growing(path, hdf5_string_type(H5T_CSET_UTF8).get(), {});
}

void Hdf5File::write_strings(const std::string& path, std::span<const std::string> values) {
  create_appendable_strings(path).append_strings(values);
}

template <typename T>
void Hdf5File::write(const std::string& path, std::span<const T> values,
                     const std::vector<std::uint64_t>& shape) {
  prepare_hdf5();
  const std::string what = name_of(path);
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : shape) elements *= extent;
  TRIREME_CHECK(elements == values.size(), what, ", ", elements, ", ", values.size());
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  const Hdf5Id space =
      own_hdf5(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
               ErrorKind::internal, what);
  std::vector<hsize_t> chunk;
  if (!dims.empty() && values.size_bytes() > kCompressFrom) {
    chunk = chunk_of(dims, sizeof(T));
    chunk[0] = std::min(chunk[0], dims[0]);
  }
  const Hdf5Id links = creation_of_links();
  const Hdf5Id creation = creation_of_chunks(chunk, what);
  const hid_t type = hdf5_native_type<T>();
  const Hdf5Id dataset = own_hdf5(H5Dcreate2(id_.get(), path.c_str(), type, space.get(),
                                             links.get(), creation.get(), H5P_DEFAULT),
                                  ErrorKind::io, cat(what, ": cannot be created"));
  if (values.empty()) return;
  hdf5_check(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
             ErrorKind::io, cat(what, ": cannot be written"));
}

#define TRIREME_INSTANTIATE(T)                                                            \
  template Hdf5Dataset Hdf5File::create_appendable<T>(const std::string&,                 \
                                                      const std::vector<std::uint64_t>&); \
  template void Hdf5File::write<T>(const std::string&, std::span<const T>,                \
                                   const std::vector<std::uint64_t>&);
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
