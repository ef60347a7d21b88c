#include "io/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace trireme::io {

std::string system_message(const std::string& path, std::string_view what) {
  return cat(path, ": ", what, ": ", std::strerror(errno));
}

void write_all(int descriptor, std::string_view bytes, const std::string& path,
               std::size_t* num_written) {
  std::size_t begin = 0;
  while (begin < bytes.size()) {
    const ssize_t count = ::write(descriptor, bytes.data() + begin, bytes.size() - begin);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 || (count == 0 && (errno = ENOSPC) != 0)) {
      if (num_written != nullptr) *num_written = begin;
      fail(ErrorKind::io, system_message(path, cat("cannot write ", bytes.size() - begin, " of ",
                                                   bytes.size(), " bytes")));
    }
    begin += static_cast<std::size_t>(count);
  }
  if (num_written != nullptr) *num_written = begin;
}

void sync_directory_of(const std::string& path) {
  const FileDescriptor directory(
      ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) ::fsync(directory.get());
}

void sync_file(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::fsync(file.get()) != 0) {
    fail(ErrorKind::io, system_message(path, "cannot be brought to the disk"));
  }
}

void require_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) return;
  fail(ErrorKind::output, cat(path,
                              ": is not a regular file, and nothing else is replaced; choose "
                              "another name"));
}

void rename_file(const std::string& from, const std::string& to) {
  require_replaceable(to);
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    fail(ErrorKind::output, system_message(to, cat("cannot rename ", from, " to it")));
  }
  sync_directory_of(to);
}

void write_file_at_once(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  require_replaceable(temporary);
  {
    const FileDescriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file) fail(ErrorKind::output, system_message(temporary, "cannot be created"));
    write_all(file.get(), bytes, temporary);
    if (::fsync(file.get()) != 0) {
      fail(ErrorKind::io, system_message(temporary, "cannot be brought to the disk"));
    }
  }
  rename_file(temporary, path);
}

FileDescriptor open_regular_file(const std::string& path) {
  // Non-blocking: a pipe is refused, not waited for.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file) fail(ErrorKind::missing, system_message(path, "cannot be read"));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    fail(ErrorKind::input, cat(path, ": is not a regular file"));
  }
  return file;
}

std::string read_small_file(const std::string& path, std::size_t max_bytes) {
  const FileDescriptor file = open_regular_file(path);
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer, sizeof(buffer));
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ErrorKind::io, system_message(path, "cannot be read"));
    text.append(buffer, static_cast<std::size_t>(count));
    if (text.size() > max_bytes) {
      fail(ErrorKind::input, cat(path, ": is larger than ", max_bytes, " bytes"));
    }
  }
}

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat first {
  }, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

TemporaryFile::TemporaryFile(std::string path) : path_(std::move(path)) {
  require_replaceable(path_);
}

TemporaryFile::~TemporaryFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

void TemporaryFile::rename_to(const std::string& path) {
  sync_file(path_);
  rename_file(path_, path);
  path_.clear();
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace trireme::io
