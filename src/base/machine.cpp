#include "base/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace trireme {
namespace {

/// The smallest limit of a control group and those around it; `limit` if none is smaller. A word
/// such as "max" is no limit.
std::int64_t least_limit(const std::string& root, std::string group, const std::string& file,
                         std::int64_t limit) {
  while (true) {
    std::ifstream in(root + group + "/" + file);
    std::int64_t bytes = 0;
    if (in >> bytes && bytes > 0) limit = std::min(limit, bytes);
    const std::size_t slash = group.rfind('/');
    if (slash == std::string::npos) return limit;
    group.resize(slash);
  }
}

}  // namespace

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::int64_t memory_bytes() {
  std::int64_t bytes =
      std::int64_t{::sysconf(_SC_PHYS_PAGES)} * std::int64_t{::sysconf(_SC_PAGESIZE)};
  // A line reads NUMBER:CONTROLLERS:GROUP; version 2 of control groups names no controllers.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") bytes = least_limit("/sys/fs/cgroup", group, "memory.max", bytes);
    if (controllers.find(",memory,") != std::string::npos) {
      bytes = least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", bytes);
    }
  }
  return bytes;
}

}  // namespace trireme
