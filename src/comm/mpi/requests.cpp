#include "comm/mpi/requests.h"

#include <mpi.h>

#include <exception>

namespace trireme::comm {

void end_requests(std::span<ompi_request_t*> requests) noexcept {
  const bool unwinds = std::uncaught_exceptions() > 0;
  for (ompi_request_t*& request : requests) {
    if (request == nullptr || request == MPI_REQUEST_NULL) continue;
    if (unwinds) {
      // Collectives refuse to be cancelled, which leaves them behind.
      MPI_Cancel(&request);
      MPI_Request_free(&request);
    } else {
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    }
    request = nullptr;
  }
}

}  // namespace trireme::comm
