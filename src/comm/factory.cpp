#include "comm/factory.h"

#include <utility>

#include "base/error.h"
#include "comm/mpi/mpi_communicator.h"

namespace trireme::comm {

std::unique_ptr<Communicator> make_communicator(MpiComm group, const std::string& backend) {
  // A rank alone exchanges nothing, by whatever it would.
  const bool is_alone = !group || group.size() == 1;
  if (backend == "mpi" || (is_alone && (backend == "nccl" || backend == "peer")))
    return std::make_unique<MpiCommunicator>(std::move(group));
  fail(ErrorKind::config,
       cat("comm: '", backend, "' is not available in this build; expected mpi"));
}

}  // namespace trireme::comm
