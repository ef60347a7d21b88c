#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

namespace trireme {

/// What went wrong, as far as the caller of the program must tell it apart. Each kind has an exit code.
enum class ErrorKind {
  usage,          ///< 64: the command line
  input,          ///< 65: data in a file is bad
  missing,        ///< 66: a file is not there or not readable
  checkpoint,     ///< 65: the model's files are bad
  config,         ///< 78: a key has a value that cannot work
  output,         ///< 73: an output cannot be created
  io,             ///< 74: reading or writing failed, disk full
  mpi,            ///< 71
  cuda,           ///< 71
  nccl,           ///< 71
  out_of_memory,  ///< 70
  internal,       ///< 70: a defect of this program
};

/// The process exit code of a kind (sysexits where one fits).
int exit_code(ErrorKind kind);

/// Exit code of a run that was stopped on request and kept its finished rows.
inline constexpr int kExitStopped = 75;
/// Of a complete run with failed rows, where `strict` asks for it.
inline constexpr int kExitFailedRows = 10;

/// An error with its kind and the place that raised it. The message names the thing, its value, what
/// was expected, and the key or file to change.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message,
        std::source_location where = std::source_location::current())
      : std::runtime_error(message), kind_(kind), where_(where) {}

  ErrorKind kind() const { return kind_; }
  const std::source_location& where() const { return where_; }

 private:
  ErrorKind kind_;
  std::source_location where_;
};

/// The parts printed one after the other, as `operator<<` prints them.
template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

/// Throws Error(kind).
[[noreturn]] void fail(ErrorKind kind, const std::string& message,
                       std::source_location where = std::source_location::current());

namespace detail {
[[noreturn]] void check_failed(const char* condition, const std::string& values,
                               std::source_location where);
}

}  // namespace trireme

/// A caller's bug: throws Error(internal) with the condition and the values given after it. Always on.
#define TRIREME_CHECK(condition, ...)                                        \
  do {                                                                       \
    if (!(condition)) [[unlikely]]                                           \
      ::trireme::detail::check_failed(#condition, ::trireme::cat(__VA_ARGS__), \
                                      std::source_location::current());      \
  } while (false)

/// TRIREME_CHECK for inner loops: only in debug builds.
#ifdef NDEBUG
#define TRIREME_ASSERT(condition, ...) \
  do {                                 \
  } while (false)
#else
#define TRIREME_ASSERT(condition, ...) TRIREME_CHECK(condition __VA_OPT__(, ) __VA_ARGS__)
#endif
