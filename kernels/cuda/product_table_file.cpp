#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "base/error.h"
#include "base/handle.h"
#include "kernels/cuda/detail/product_table.h"

namespace trireme::kernels::cuda {
namespace {

constexpr std::size_t kMostBytes = std::size_t{4} << 20;

std::string system_words() { return std::generic_category().message(errno); }

bool write_whole(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::fsync(file) == 0;
}

}  // namespace

void write_table(const std::string& path, std::string_view text) {
  // A name of its own, since several processes may have tuned at once.
  std::string temporary = path + ".XXXXXX";
  const FileDescriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) {
    fail(ErrorKind::output, cat(temporary, ": cannot be created: ", system_words()));
  }
  const bool is_written = write_whole(file.get(), text) && ::fchmod(file.get(), 0644) == 0;
  if (is_written && std::rename(temporary.c_str(), path.c_str()) == 0) return;
  const std::string why = system_words();
  ::unlink(temporary.c_str());
  fail(ErrorKind::io, cat(path, ": cannot be written: ", why));
}

ReadTable read_table(const std::string& path, std::string_view machine) {
  const auto refuse = [](const auto&... why) { return ReadTable{{}, cat(why...)}; };
  // Non-blocking: a pipe is refused, not waited for.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file) return refuse("cannot be read: ", system_words());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return refuse("cannot be read: ", system_words());
  if (!S_ISREG(status.st_mode)) return refuse("is not a regular file");
  std::string text;
  char some[4096];
  while (text.size() <= kMostBytes) {
    const ssize_t count = ::read(file.get(), some, sizeof some);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse("cannot be read: ", system_words());
    if (count == 0) return table_of(text, machine);
    text.append(some, static_cast<std::size_t>(count));
  }
  return refuse("is larger than ", kMostBytes, " bytes, which no table of products is");
}

}  // namespace trireme::kernels::cuda
