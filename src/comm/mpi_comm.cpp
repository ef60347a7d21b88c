#include "comm/mpi_comm.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "base/error.h"
#include "comm/mpi/requests.h"
#include "comm/mpi/status.h"

namespace trireme::comm {
namespace {

constexpr std::size_t kMaxCount = std::numeric_limits<int>::max();
/// A broadcast of more goes in pieces: counts of MPI are int.
constexpr std::size_t kPieceBytes = std::size_t{1} << 30;

/// A committed type of exactly this many bytes, for messages that are too large for a count.
struct ByteType {
  MPI_Datatype type = MPI_BYTE;
  int count = 0;

  explicit ByteType(std::size_t size_bytes) {
    if (size_bytes <= kMaxCount) {
      count = static_cast<int>(size_bytes);
      return;
    }
    const std::size_t pieces = size_bytes / kPieceBytes;
    TRIREME_CHECK(pieces <= kMaxCount, "size_bytes=", size_bytes);
    MPI_Datatype piece = MPI_DATATYPE_NULL, body = MPI_DATATYPE_NULL;
    mpi_check(MPI_Type_contiguous(static_cast<int>(kPieceBytes), MPI_BYTE, &piece));
    mpi_check(MPI_Type_contiguous(static_cast<int>(pieces), piece, &body));
    int lengths[] = {1, static_cast<int>(size_bytes % kPieceBytes)};
    MPI_Aint places[] = {0, static_cast<MPI_Aint>(pieces * kPieceBytes)};
    MPI_Datatype types[] = {body, MPI_BYTE};
    mpi_check(MPI_Type_create_struct(2, lengths, places, types, &type));
    mpi_check(MPI_Type_commit(&type));
    MPI_Type_free(&piece);
    MPI_Type_free(&body);
    count = 1;
  }
  ByteType(const ByteType&) = delete;
  ByteType& operator=(const ByteType&) = delete;
  ~ByteType() {
    if (type != MPI_BYTE) MPI_Type_free(&type);
  }
};

/// MPI's null is an object of its own; here it is nullptr.
ompi_communicator_t* own(MPI_Comm communicator) {
  if (communicator == MPI_COMM_NULL) return nullptr;
  mpi_check(MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN));
  return communicator;
}

template <typename T>
T reduce(const MpiComm& comm, T value, MPI_Datatype type, MPI_Op op) {
  if (comm.size() == 1) return value;
  T result{};
  mpi_check(MPI_Allreduce(&value, &result, 1, type, op, comm.get()));
  return result;
}

template <typename T>
void sum_in_place(const MpiComm& comm, std::span<T> values, MPI_Datatype type) {
  if (comm.size() == 1 || values.empty()) return;
  TRIREME_CHECK(values.size() <= kMaxCount, "values=", values.size());
  mpi_check(MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), type,
                          MPI_SUM, comm.get()));
}

}  // namespace

void MpiCommTraits::destroy(type communicator) noexcept { MPI_Comm_free(&communicator); }

HostRequest::HostRequest(HostRequest&& other) noexcept
    : request_(std::exchange(other.request_, nullptr)) {}

HostRequest& HostRequest::operator=(HostRequest&& other) noexcept {
  std::swap(request_, other.request_);
  return *this;
}

HostRequest::~HostRequest() { end_requests(std::span(&request_, 1)); }

bool HostRequest::test() {
  if (request_ == nullptr) return true;
  int done = 0;
  const int status = MPI_Test(&request_, &done, MPI_STATUS_IGNORE);
  if (done != 0 || status != MPI_SUCCESS) request_ = nullptr;
  mpi_check(status);
  return done != 0;
}

void HostRequest::wait(const std::function<void()>& while_waiting) {
  while (!test()) {
    if (while_waiting) {
      while_waiting();
    } else {
      sched_yield();
    }
  }
}

MpiComm MpiComm::world() {
  MPI_Comm result = MPI_COMM_NULL;
  mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &result));
  return MpiComm(own(result));
}

int MpiComm::rank() const {
  int result = 0;
  mpi_check(MPI_Comm_rank(get(), &result));
  return result;
}

int MpiComm::size() const {
  int result = 0;
  mpi_check(MPI_Comm_size(get(), &result));
  return result;
}

MpiComm MpiComm::split(int color, int key) const {
  MPI_Comm result = MPI_COMM_NULL;
  mpi_check(MPI_Comm_split(get(), color < 0 ? MPI_UNDEFINED : color, key, &result));
  return MpiComm(own(result));
}

MpiComm MpiComm::split_by_node() const {
  MPI_Comm result = MPI_COMM_NULL;
  mpi_check(MPI_Comm_split_type(get(), MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &result));
  return MpiComm(own(result));
}

MpiComm MpiComm::duplicate() const {
  MPI_Comm result = MPI_COMM_NULL;
  mpi_check(MPI_Comm_dup(get(), &result));
  return MpiComm(own(result));
}

void MpiComm::barrier() const {
  if (size() > 1) mpi_check(MPI_Barrier(get()));
}

HostRequest MpiComm::begin_barrier() const {
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Ibarrier(get(), &request));
  return HostRequest(request);
}

void MpiComm::broadcast(std::span<std::byte> bytes, int root) const {
  if (size() == 1) return;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPieceBytes) {
    const std::size_t count = std::min(kPieceBytes, bytes.size() - begin);
    mpi_check(MPI_Bcast(bytes.data() + begin, static_cast<int>(count), MPI_BYTE, root, get()));
  }
}

std::string MpiComm::broadcast(const std::string& text, int root) const {
  std::uint64_t size_bytes = text.size();
  broadcast(std::as_writable_bytes(std::span(&size_bytes, 1)), root);
  std::string result = rank() == root ? text : std::string(size_bytes, '\0');
  broadcast(std::as_writable_bytes(std::span(result)), root);
  return result;
}

std::int64_t MpiComm::min(std::int64_t value) const {
  return reduce(*this, value, MPI_INT64_T, MPI_MIN);
}

std::int64_t MpiComm::max(std::int64_t value) const {
  return reduce(*this, value, MPI_INT64_T, MPI_MAX);
}

std::int64_t MpiComm::sum(std::int64_t value) const {
  return reduce(*this, value, MPI_INT64_T, MPI_SUM);
}

void MpiComm::sum(std::span<double> values) const { sum_in_place(*this, values, MPI_DOUBLE); }

void MpiComm::sum(std::span<std::int64_t> values) const {
  sum_in_place(*this, values, MPI_INT64_T);
}

std::vector<std::string> MpiComm::all_gather(const std::string& text) const {
  const int num_ranks = size();
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(num_ranks), text.size());
  if (num_ranks > 1) {
    mpi_check(
        MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, sizes.data(), 1, MPI_UINT64_T, get()));
  }
  std::vector<int> counts, begins;
  std::size_t total = 0;
  for (const std::uint64_t size_bytes : sizes) {
    TRIREME_CHECK(size_bytes <= kMaxCount - total, "size_bytes=", size_bytes, " before=", total);
    begins.push_back(static_cast<int>(total));
    counts.push_back(static_cast<int>(size_bytes));
    total += size_bytes;
  }
  std::string all(total, '\0');
  if (num_ranks > 1) {
    mpi_check(MPI_Allgatherv(text.data(), static_cast<int>(text.size()), MPI_BYTE, all.data(),
                             counts.data(), begins.data(), MPI_BYTE, get()));
  } else {
    all = text;
  }
  std::vector<std::string> result;
  for (std::size_t from = 0; from < counts.size(); ++from) {
    result.push_back(
        all.substr(static_cast<std::size_t>(begins[from]), static_cast<std::size_t>(counts[from])));
  }
  return result;
}

HostRequest MpiComm::begin_all_gather(std::span<const std::byte> in,
                                      std::span<std::byte> out) const {
  TRIREME_CHECK(out.size() == in.size() * static_cast<std::size_t>(size()), "in=", in.size(),
                " out=", out.size(), " ranks=", size());
  TRIREME_CHECK(out.size() <= kMaxCount, "out=", out.size());
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Iallgather(in.data(), static_cast<int>(in.size()), MPI_BYTE, out.data(),
                           static_cast<int>(in.size()), MPI_BYTE, get(), &request));
  return HostRequest(request);
}

HostRequest MpiComm::send(std::span<const std::byte> bytes, int to, int tag) const {
  const ByteType bytes_type(bytes.size());
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Isend(bytes.data(), bytes_type.count, bytes_type.type, to, tag, get(), &request));
  return HostRequest(request);
}

HostRequest MpiComm::receive(std::span<std::byte> bytes, int from, int tag) const {
  const ByteType bytes_type(bytes.size());
  MPI_Request request = MPI_REQUEST_NULL;
  mpi_check(MPI_Irecv(bytes.data(), bytes_type.count, bytes_type.type,
                      from < 0 ? MPI_ANY_SOURCE : from, tag, get(), &request));
  return HostRequest(request);
}

bool MpiComm::probe(int from, int tag, Arrived& arrived) const {
  int found = 0;
  MPI_Status status;
  mpi_check(MPI_Iprobe(from < 0 ? MPI_ANY_SOURCE : from, tag, get(), &found, &status));
  if (found == 0) return false;
  MPI_Count size_bytes = 0;
  mpi_check(MPI_Get_elements_x(&status, MPI_BYTE, &size_bytes));
  arrived = {status.MPI_SOURCE, static_cast<std::size_t>(size_bytes)};
  return true;
}

void MpiComm::abort(int exit_code) const {
  MPI_Abort(handle_ ? get() : MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace trireme::comm
