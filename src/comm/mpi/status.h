#pragma once

#include <source_location>

namespace trireme::comm {

/// Throws Error(mpi) with MPI's words unless `status` is MPI_SUCCESS. Communicators made here
/// return errors instead of ending the job.
void mpi_check(int status, std::source_location where = std::source_location::current());

}  // namespace trireme::comm
