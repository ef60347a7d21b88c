#include "io/disk_space.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <limits>

#include "io/file_system.h"

namespace trireme::io {
namespace {

// Frame header, fixed fields and custom id in the journal, fixed columns in the result file.
constexpr std::uint64_t kFixedBytesOfRow = 512;
constexpr std::uint64_t kIdBytes = 4;
constexpr std::uint64_t kTextBytesOfToken = 5;
constexpr std::uint64_t kLogprobBytes = 4;

std::uint64_t saturating_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::uint64_t>::max()
                                                : product;
}

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

std::uint64_t not_negative(std::int64_t value) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value));
}

}  // namespace

std::uint64_t free_disk_bytes(const std::string& path) {
  struct stat status {};
  const bool is_directory = ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  const std::string directory = is_directory ? path : directory_of(path);
  struct statvfs space {};
  if (::statvfs(directory.c_str(), &space) != 0) {
    fail(ErrorKind::missing, system_message(directory, "no such directory to write to"));
  }
  return static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
}

std::uint64_t disk_space_needed(const DiskDemand& demand) {
  std::uint64_t of_token = kIdBytes + kTextBytesOfToken;
  if (demand.logprobs)
    of_token =
        saturating_add(of_token + kLogprobBytes,
                       saturating_multiply(not_negative(demand.top_k), kIdBytes + kLogprobBytes));
  const std::uint64_t of_row = saturating_add(
      kFixedBytesOfRow, saturating_multiply(not_negative(demand.tokens_per_row), of_token));
  const std::uint64_t once =
      saturating_add(saturating_multiply(not_negative(demand.num_rows), of_row),
                     saturating_multiply(not_negative(demand.prompt_tokens), kLogprobBytes));
  return saturating_multiply(once, 2);  // the journals stay until the result file is whole
}

void check_disk_space(const std::string& path, std::uint64_t needed) {
  const std::uint64_t available = free_disk_bytes(path);
  if (available < needed) {
    fail(ErrorKind::io, cat(path, ": up to ", needed, " bytes are needed here, ", available,
                            " are free; free some, or choose another place for the output"));
  }
}

}  // namespace trireme::io
