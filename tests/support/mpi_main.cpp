// The main of tests that run as several ranks: they pass or fail together, and rank 0 reports.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "comm/mpi_comm.h"
#include "support/watchdog.h"

namespace trireme::test {
namespace {

/// Seconds that one test may take: the hang is named before ctest ends it without a word.
constexpr double kLimitSeconds = 500;
constexpr const char* kLimitVariable = "TRIREME_TEST_LIMIT_S";

double limit_seconds() {
  const char* text = std::getenv(kLimitVariable);
  const double limit = text == nullptr ? 0 : std::atof(text);
  return limit > 0 ? limit : kLimitSeconds;
}

/// Names the test that hangs, shows the failures of the ranks that print nothing else, and makes a
/// test that failed on one rank fail on all.
class Ranks final : public testing::EmptyTestEventListener {
 public:
  explicit Ranks(const comm::MpiComm& world)
      : world_(world),
        who_(cat("rank ", world.rank(), "/", world.size())),
        watchdog_(who_, limit_seconds()) {}

  void OnTestStart(const testing::TestInfo& test) override {
    watchdog_.watch(cat(test.test_suite_name(), ".", test.name()));
  }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (world_.rank() == 0 || !result.failed() || agrees_) return;
    const std::string message =
        cat(who_, ": ", result.file_name() == nullptr ? "?" : result.file_name(), ":",
            result.line_number(), ": ", result.message(), "\n");
    std::fputs(message.c_str(), stderr);
  }

  void OnTestEnd(const testing::TestInfo& test) override {
    const bool failed_here = test.result()->Failed();
    const std::int64_t failed = world_.sum(failed_here ? 1 : 0);
    watchdog_.watch("");
    agrees_ = true;
    if (failed > 0 && !failed_here) ADD_FAILURE() << "failed on " << failed << " other rank(s)";
    agrees_ = false;
  }

 private:
  const comm::MpiComm& world_;
  const std::string who_;
  Watchdog watchdog_;
  bool agrees_ = false;  ///< what fails now was printed by the rank where it failed
};

int run(int* argc, char** argv) {
  const comm::MpiComm world = comm::MpiComm::world();
  testing::InitGoogleTest(argc, argv);
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world.rank() != 0) {
    delete listeners.Release(listeners.default_result_printer());
    delete listeners.Release(listeners.default_xml_generator());
  }
  Ranks ranks(world);
  listeners.Append(&ranks);
  const int status = RUN_ALL_TESTS();
  listeners.Release(&ranks);
  // Failures outside of tests, in the set-up of a suite, have not been compared yet.
  return world.sum(status == 0 ? 0 : 1) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace trireme::test

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>

/// What Open MPI and the libraries under it keep is not ours to free.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libmpi.so\nleak:libopen-pal.so\nleak:libopen-rte.so\nleak:libpmix.so\n"
         "leak:libhwloc.so\nleak:mca_\n";
}

extern "C" const char* __lsan_default_options() { return "print_suppressions=0"; }

static void watch_allocations(bool watched) { watched ? __lsan_enable() : __lsan_disable(); }
static void check_leaks() { __lsan_do_leak_check(); }
#else
static void watch_allocations(bool) {}
static void check_leaks() {}
#endif

int main(int argc, char** argv) {
  // MPI_Init keeps memory for ever, and MPI_Finalize unloads the libraries by whose names it could
  // be told from ours: the first is not watched, and the check comes before the second.
  watch_allocations(false);
  const trireme::comm::MpiEnvironment environment(&argc, &argv);
  watch_allocations(true);
  const int status = trireme::test::run(&argc, argv);
  check_leaks();
  return status;
}
