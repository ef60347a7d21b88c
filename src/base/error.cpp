#include "base/error.h"

namespace trireme {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return 64;
    case ErrorKind::input:
    case ErrorKind::checkpoint:
      return 65;
    case ErrorKind::missing:
      return 66;
    case ErrorKind::config:
      return 78;
    case ErrorKind::output:
      return 73;
    case ErrorKind::io:
      return 74;
    case ErrorKind::mpi:
    case ErrorKind::cuda:
    case ErrorKind::nccl:
      return 71;
    case ErrorKind::out_of_memory:
    case ErrorKind::internal:
      return 70;
  }
  return 70;
}

void fail(ErrorKind kind, const std::string& message, std::source_location where) {
  throw Error(kind, message, where);
}

namespace detail {

void check_failed(const char* condition, const std::string& values, std::source_location where) {
  std::string message = cat("defect: ", where.file_name(), ":", where.line(), ": '", condition,
                            "' does not hold");
  if (!values.empty()) message += cat(" (", values, ")");
  throw Error(ErrorKind::internal, message, where);
}

}  // namespace detail
}  // namespace trireme
