#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace trireme::test {

/// Ends the process when what it was told of takes too long, and says what that was: a rank that
/// waits for a message that nobody sends would wait for ever. mpirun then ends the other ranks.
class Watchdog {
 public:
  /// `who` begins the message, such as "rank 3/8".
  Watchdog(std::string who, double limit_s);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Starts the time of `what`; an empty name stops it.
  void watch(const std::string& what);

 private:
  void run();

  const std::string who_;
  const double limit_s_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string what_;
  double begin_s_ = 0;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace trireme::test
