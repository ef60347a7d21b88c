#include "support/watchdog.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace trireme::test {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
/// Time for the other ranks to say what they wait for, before mpirun ends them.
constexpr std::chrono::seconds kLastWords{1};
constexpr int kExitHang = 70;

}  // namespace

Watchdog::Watchdog(std::string who, double limit_s)
    : who_(std::move(who)), limit_s_(limit_s), thread_([this] { run(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Watchdog::watch(const std::string& what) {
  const std::lock_guard lock(mutex_);
  what_ = what;
  begin_s_ = monotonic_seconds();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kInterval, [this] { return ends_; })) {
    if (what_.empty() || monotonic_seconds() - begin_s_ < limit_s_) continue;
    const std::string message =
        cat(who_, ": hangs in ", what_, ", for more than ", limit_s_, " s\n");
    std::fputs(message.c_str(), stderr);
    std::this_thread::sleep_for(kLastWords);
    std::_Exit(kExitHang);
  }
}

}  // namespace trireme::test
