#pragma once

#include <cstddef>
#include <vector>

#include "comm/mpi_comm.h"

namespace trireme::comm {

/// Messages between this rank and others that are in flight together. The memory belongs to the
/// exchange until finish(). Two ranks post the same sequence of sizes towards each other.
class Exchange {
 public:
  Exchange(ompi_communicator_t* communicator, int tag) : communicator_(communicator), tag_(tag) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();  ///< ends what finish() has not waited for

  /// A message of zero bytes is not sent and not received. One of any size may go in pieces.
  void receive(void* memory, std::size_t size_bytes, int from);
  void send(const void* memory, std::size_t size_bytes, int to);

  bool test();
  /// Waits for all of them, giving the core away between polls: ranks may outnumber cores.
  void finish();

 private:
  ompi_communicator_t* communicator_;
  int tag_;
  std::vector<ompi_request_t*> requests_;
};

}  // namespace trireme::comm
