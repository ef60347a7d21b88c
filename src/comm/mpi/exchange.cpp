#include "comm/mpi/exchange.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>

#include "comm/mpi/requests.h"
#include "comm/mpi/status.h"

namespace trireme::comm {
namespace {

/// Counts of MPI are int; larger messages go in pieces of this size.
constexpr std::size_t kPieceBytes = std::size_t{1} << 30;
/// Polls before the core is given away: a neighbour that runs answers within them.
constexpr int kPollsBeforeYield = 20;

template <typename Post>
void in_pieces(std::size_t size_bytes, Post post) {
  for (std::size_t begin = 0; begin < size_bytes; begin += kPieceBytes) {
    post(begin, static_cast<int>(std::min(kPieceBytes, size_bytes - begin)));
  }
}

}  // namespace

Exchange::~Exchange() { end_requests(requests_); }

void Exchange::receive(void* memory, std::size_t size_bytes, int from) {
  in_pieces(size_bytes, [&](std::size_t begin, int count) {
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    mpi_check(MPI_Irecv(static_cast<std::byte*>(memory) + begin, count, MPI_BYTE, from, tag_,
                        communicator_, &request));
  });
}

void Exchange::send(const void* memory, std::size_t size_bytes, int to) {
  in_pieces(size_bytes, [&](std::size_t begin, int count) {
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    mpi_check(MPI_Isend(static_cast<const std::byte*>(memory) + begin, count, MPI_BYTE, to, tag_,
                        communicator_, &request));
  });
}

bool Exchange::test() {
  if (requests_.empty()) return true;
  int done = 0;
  mpi_check(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                        MPI_STATUSES_IGNORE));
  if (done != 0) requests_.clear();
  return done != 0;
}

void Exchange::finish() {
  for (int polls = 0; !test(); ++polls) {
    if (polls >= kPollsBeforeYield) sched_yield();
  }
}

}  // namespace trireme::comm
