#include "text/jinja_budget.h"

#include "base/error.h"

namespace trireme::text::jinja {

void Budget::refuse_steps() {
  fail(ErrorKind::input, cat("the template takes more than ", kMaxSteps,
                             " steps (a loop that is too long, or texts "
                             "that are copied too often)"));
}

void Budget::require(std::size_t bytes) const {
  if (bytes > kMaxValueBytes) {
    fail(ErrorKind::input, cat("a value or the output grows to ", bytes, " bytes, at most ",
                               kMaxValueBytes, " are allowed"));
  }
  if (live_bytes_ + bytes > kMaxLiveBytes) {
    fail(ErrorKind::input, cat("the template's values and its output together grow beyond ",
                               kMaxLiveBytes, " bytes"));
  }
}

void Budget::require(std::size_t count, std::size_t each) const {
  if (each != 0 && count > kMaxValueBytes / each) {
    fail(ErrorKind::input, cat("a value of ", count, " parts is asked for; a value has at most ",
                               kMaxValueBytes, " bytes"));
  }
  require(count * each);
}

void Budget::hold(std::size_t bytes) {
  require(bytes);
  live_bytes_ += bytes;
}

}  // namespace trireme::text::jinja
