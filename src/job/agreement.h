#pragma once

#include <exception>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "comm/mpi_comm.h"

namespace trireme::job {

/// A stage of the start failed on some rank; its message is printed. All ranks end with this code.
class StageFailed : public std::exception {
 public:
  explicit StageFailed(int exit_code) : exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }
  const char* what() const noexcept override { return "a stage of the start failed"; }

 private:
  int exit_code_;
};

/// Does `work` on every rank; then all agree on how it went. If it threw somewhere, the lowest such
/// rank prints its message, once, and every rank throws StageFailed with that rank's exit code.
/// Collective over the world; `work` may be collective only where no rank can throw before the
/// others wait for it.
void together(const comm::MpiComm& world, const Log& log, const std::function<void()>& work);

/// The exit code of an exception, and its message.
struct Failure {
  int exit_code = 70;
  std::string message;
};
Failure describe(const std::exception_ptr& error);

}  // namespace trireme::job
