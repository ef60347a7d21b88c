#pragma once

#include <optional>
#include <string>

#include "base/handle.h"

namespace trireme::io {

/// Says that a run is at work in a directory: an advisory lock on DIRECTORY/lock, which the kernel
/// lets go when the process ends, however it ends. Processes of other nodes see it where the file
/// system passes locks on (NFS, Lustre with -o flock).
class RunLock {
 public:
  static constexpr const char* kFileName = "lock";

  /// Makes DIRECTORY/lock, with host and process in it, and locks it. Where the file system has no
  /// locks is_held() is false. Throws Error(output) if it cannot be made or another process has it.
  static RunLock make(const std::string& directory);
  /// Locks DIRECTORY/lock for a moment, to remove the directory. None if there is no such file.
  /// Throws Error(output) that names the run which has it.
  static std::optional<RunLock> take(const std::string& directory);

  bool is_held() const { return is_held_; }

 private:
  RunLock(FileDescriptor file, bool is_held) : file_(std::move(file)), is_held_(is_held) {}

  FileDescriptor file_;
  bool is_held_ = false;
};

/// Which run is at work in the directory: "process 17 on node3". None if none is, or if that cannot
/// be told.
std::optional<std::string> run_at_work(const std::string& directory);

/// Throws Error(output): `holder` has the directory.
[[noreturn]] void fail_in_use(const std::string& directory, const std::string& holder);

}  // namespace trireme::io
