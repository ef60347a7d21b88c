#include "comm/mpi/status.h"

#include <mpi.h>

#include <array>
#include <string>

#include "base/error.h"

namespace trireme::comm {

void mpi_check(int status, std::source_location where) {
  if (status == MPI_SUCCESS) [[likely]]
    return;
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  fail(ErrorKind::mpi, cat("MPI failed: ", text.data()), where);
}

}  // namespace trireme::comm
