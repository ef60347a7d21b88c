#include <mpi.h>

#include "base/error.h"
#include "comm/mpi/status.h"
#include "comm/mpi_comm.h"

namespace trireme::comm {

MpiEnvironment::MpiEnvironment(int* argc, char*** argv) {
  int provided = MPI_THREAD_SINGLE;
  mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided));
  mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  if (provided < MPI_THREAD_FUNNELED) {
    fail(ErrorKind::mpi, cat("MPI offers thread level ", provided, "; expected at least ",
                             MPI_THREAD_FUNNELED, " (MPI_THREAD_FUNNELED)"));
  }
}

MpiEnvironment::~MpiEnvironment() { MPI_Finalize(); }

}  // namespace trireme::comm
