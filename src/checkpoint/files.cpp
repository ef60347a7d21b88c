#include "checkpoint/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace trireme::checkpoint {

FileDescriptor open_file(const std::string& path) {
  // Non-blocking, so that a pipe in the place of a file is refused instead of waited for.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) fail(ErrorKind::missing, cat(path, ": cannot be read: ", std::strerror(errno)));
  return file;
}

std::uint64_t size_of_file(const FileDescriptor& file, const std::string& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail(ErrorKind::io, cat(path, ": ", std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::missing, cat(path, ": is not a regular file"));
  return static_cast<std::uint64_t>(status.st_size);
}

void read_exactly(const FileDescriptor& file, const std::string& path, std::uint64_t offset,
                  void* destination, std::uint64_t size) {
  auto* at = static_cast<char*>(destination);
  std::uint64_t done = 0;
  while (done < size) {
    const std::uint64_t wanted = std::min(size - done, std::uint64_t{1} << 30);
    const ssize_t got = ::pread(file.get(), at + done, wanted, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      fail(ErrorKind::io,
           cat(path, ": reading at byte ", offset + done, ": ", std::strerror(errno)));
    }
    if (got == 0) {
      fail(ErrorKind::checkpoint,
           cat(path, ": ends at byte ", offset + done, ", expected at least ", offset + size,
               " bytes: the file is truncated"));
    }
    done += static_cast<std::uint64_t>(got);
  }
}

std::string read_text_file(const std::string& path, std::uint64_t max_bytes) {
  const FileDescriptor file = open_file(path);
  const std::uint64_t size = size_of_file(file, path);
  if (size > max_bytes) {
    fail(ErrorKind::checkpoint, cat(path, ": ", size, " bytes, expected at most ", max_bytes));
  }
  std::string text(size, '\0');
  read_exactly(file, path, 0, text.data(), size);
  return text;
}

bool file_exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace trireme::checkpoint
