#include "io/run_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/error.h"
#include "io/file_system.h"
#include "io/utf8.h"

namespace trireme::io {
namespace {

constexpr std::size_t kMaxHolderBytes = 300;

std::string lock_path(const std::string& directory) {
  return cat(directory, "/", RunLock::kFileName);
}

struct flock write_lock() {
  struct flock range {};  // from the beginning to whatever the end is
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  return range;
}

enum class Grip { got, taken, unsupported };

// Of the open file, not of the process: another descriptor of this process is another holder.
Grip grip(const FileDescriptor& file) {
  struct flock range = write_lock();
  if (::fcntl(file.get(), F_OFD_SETLK, &range) == 0) return Grip::got;
  return errno == EAGAIN || errno == EACCES ? Grip::taken : Grip::unsupported;
}

// What the holder wrote into the file, as far as it is fit to be shown.
std::string holder_in(const FileDescriptor& file) {
  std::string text(kMaxHolderBytes, '\0');
  const ssize_t count = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  text.resize(std::min(text.size(), text.find('\n')));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text.empty() ? "another process" : with_valid_utf8(text);
}

std::string own_name() {
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  return cat("process ", ::getpid(), " on ", host);
}

bool is_still_there(const FileDescriptor& file, const std::string& path) {
  struct stat held {
  }, named{};
  return ::fstat(file.get(), &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

}  // namespace

RunLock RunLock::make(const std::string& directory) {
  const std::string path = lock_path(directory);
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file) fail(ErrorKind::output, system_message(path, "cannot be created"));
  const Grip result = grip(file);
  // Whoever removes the directory at this moment has the file, or had it.
  if (result == Grip::taken || !is_still_there(file, path)) {
    fail_in_use(directory, holder_in(file));
  }
  const std::string name = own_name() + "\n";
  if (::write(file.get(), name.data(), name.size()) < 0) {
    // Only a name for messages; a full disk is told by what must be written.
  }
  return RunLock(std::move(file), result == Grip::got);
}

std::optional<RunLock> RunLock::take(const std::string& directory) {
  const std::string path = lock_path(directory);
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) fail(ErrorKind::output, system_message(path, "cannot be locked"));
  const Grip result = grip(file);
  if (result == Grip::taken || !is_still_there(file, path)) {
    fail_in_use(directory, holder_in(file));
  }
  return RunLock(std::move(file), result == Grip::got);
}

std::optional<std::string> run_at_work(const std::string& directory) {
  const FileDescriptor file(
      ::open(lock_path(directory).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct flock range = write_lock();
  if (!file || ::fcntl(file.get(), F_OFD_GETLK, &range) != 0 || range.l_type == F_UNLCK) {
    return std::nullopt;
  }
  return holder_in(file);
}

void fail_in_use(const std::string& directory, const std::string& holder) {
  fail(ErrorKind::output, cat(directory, ": a run is at work in this run directory (", holder,
                              "); wait for its end or stop it, or choose another with --run-dir"));
}

}  // namespace trireme::io
