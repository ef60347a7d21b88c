#include "base/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace trireme {
namespace {

TEST(Machine, HasACoreAndMemoryWithinThePhysical) {
  const std::int64_t physical =
      std::int64_t{::sysconf(_SC_PHYS_PAGES)} * std::int64_t{::sysconf(_SC_PAGESIZE)};

  EXPECT_GE(usable_cores(), 1);
  EXPECT_GT(memory_bytes(), 0);
  EXPECT_LE(memory_bytes(), physical);
}

}  // namespace
}  // namespace trireme
