#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/handle.h"

namespace trireme::io {

/// "PATH: cannot be written: No space left on device", with the error number of now.
std::string system_message(const std::string& path, std::string_view what);

/// Writes all bytes, again after interruptions. Throws Error(io) that says how many of them did not
/// fit. Gives the number of bytes written before the failure in `num_written` where that is asked.
void write_all(int descriptor, std::string_view bytes, const std::string& path,
               std::size_t* num_written = nullptr);

/// Makes the name of a file in its directory last. File systems without it are taken as they are.
void sync_directory_of(const std::string& path);

/// fsync of a closed file. Throws Error(io).
void sync_file(const std::string& path);

/// Throws Error(output) if something is there, links followed, that is no regular file: a device, a
/// pipe, a socket or a folder is never replaced.
void require_replaceable(const std::string& path);

/// rename, then sync_directory_of. Throws Error(output), of what is no regular file too.
void rename_file(const std::string& from, const std::string& to);

/// PATH.tmp, fsync, rename: the file is there whole or not at all. Throws Error(output), Error(io).
void write_file_at_once(const std::string& path, std::string_view bytes);

/// Opens a regular file for reading. Throws Error(missing), or Error(input) if it is another thing,
/// such as a pipe, without waiting for it.
FileDescriptor open_regular_file(const std::string& path);

/// The whole of a small regular file. Throws as open_regular_file, Error(io), Error(input) above
/// `max_bytes`.
std::string read_small_file(const std::string& path, std::size_t max_bytes);

/// Whether both paths lead to one file that is there, through links too.
bool is_same_file(const std::string& a, const std::string& b);

/// Removes an unfinished file, whatever happens, until it is renamed to what it shall be.
class TemporaryFile {
 public:
  /// Throws Error(output) if something is there that is no regular file.
  explicit TemporaryFile(std::string path);
  TemporaryFile(TemporaryFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile();

  const std::string& path() const { return path_; }
  /// Brings it to the disk and renames it. Throws Error(io), Error(output).
  void rename_to(const std::string& path);

 private:
  std::string path_;
};

bool exists(const std::string& path);

/// The directory part of a path; "." if it has none.
std::string directory_of(const std::string& path);

}  // namespace trireme::io
