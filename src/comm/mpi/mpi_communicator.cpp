#include "comm/mpi/mpi_communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "comm/mpi/ordered_sum.h"

namespace trireme::comm {
namespace {

/// Collectives and point-to-point messages of a group do not meet.
constexpr int kCollectiveTag = 1;
constexpr int kPointToPointTag = 2;

/// What a rank may receive in a direct sum: up to here one round is faster than two, measured at 2,
/// 4 and 8 ranks (with shared-memory messages that are eager up to 32 KiB, as tools/launch.sh
/// sets).
constexpr std::size_t kDirectReceivedBytes = std::size_t{160} << 10;
/// Larger sums go block by block, so that scratch memory stays small.
constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
/// Pieces of a sum end at whole cache lines.
constexpr std::size_t kPieceAlignment = 64;

class MpiTransfer final : public Transfer {
 public:
  explicit MpiTransfer(ompi_communicator_t* communicator)
      : exchange_(communicator, kPointToPointTag) {}
  Exchange& exchange() { return exchange_; }
  void wait() override { exchange_.finish(); }
  bool test() override { return exchange_.test(); }

 private:
  Exchange exchange_;
};

std::byte* bytes_of(const TensorView& view) {
  TRIREME_CHECK(view.is_contiguous(), "shape=", view.shape.text(), " row_stride=", view.row_stride);
  return static_cast<std::byte*>(view.data);
}

void copy(const std::byte* from, std::byte* to, std::size_t size_bytes) {
  if (from != to && size_bytes > 0) std::memmove(to, from, size_bytes);
}

void check_same_rows(const TensorView& a, const TensorView& b) {
  TRIREME_CHECK(a.dtype == b.dtype, "dtypes=", name_of(a.dtype), ", ", name_of(b.dtype));
  TRIREME_CHECK(a.shape.inner() == b.shape.inner(), "shapes=", a.shape.text(), ", ",
                b.shape.text());
}

}  // namespace

MpiCommunicator::MpiCommunicator(MpiComm group) : group_(std::move(group)) {
  if (!group_) return;
  rank_ = group_.rank();
  size_ = group_.size();
}

std::size_t MpiCommunicator::max_direct_bytes(int num_ranks) {
  return num_ranks < 2 ? 0 : kDirectReceivedBytes / static_cast<std::size_t>(num_ranks - 1);
}

std::size_t MpiCommunicator::Parts::size_of(int rank) const {
  const auto r = static_cast<std::size_t>(rank);
  return begins[r + 1] - begins[r];
}

MpiCommunicator::Parts MpiCommunicator::parts_of(const TensorView& whole,
                                                 std::span<const std::int64_t> counts) const {
  TRIREME_CHECK(counts.size() == static_cast<std::size_t>(size_), "counts=", counts.size(),
                " ranks=", size_);
  const std::size_t row_bytes =
      static_cast<std::size_t>(whole.row_size()) * trireme::size_of(whole.dtype);
  Parts result;
  result.begins.reserve(counts.size() + 1);
  result.begins.push_back(0);
  std::int64_t rows = 0;
  for (const std::int64_t count : counts) {
    TRIREME_CHECK(count >= 0 && count <= whole.rows() - rows, "count=", count, " before=", rows,
                  " shape=", whole.shape.text());
    rows += count;
    result.begins.push_back(static_cast<std::size_t>(rows) * row_bytes);
  }
  TRIREME_CHECK(rows == whole.rows(), "counted=", rows, " shape=", whole.shape.text());
  return result;
}

Exchange MpiCommunicator::exchange() const { return Exchange(group_.get(), kCollectiveTag); }

std::byte* MpiCommunicator::scratch(std::size_t size_bytes) {
  if (size_bytes > scratch_bytes_) {
    scratch_.reset();
    scratch_ = std::make_unique_for_overwrite<std::byte[]>(size_bytes);
    scratch_bytes_ = size_bytes;
  }
  return scratch_.get();
}

std::span<const void* const> MpiCommunicator::swap_with_all(const std::byte* data,
                                                            std::size_t size_bytes) {
  std::byte* const memory = scratch(size_bytes * static_cast<std::size_t>(size_));
  parts_.assign(static_cast<std::size_t>(size_), data);
  Exchange messages = exchange();
  for (int step = size_ - 1; step > 0; --step) {
    const int from = peer(step);
    std::byte* const part = memory + size_bytes * static_cast<std::size_t>(from);
    parts_[static_cast<std::size_t>(from)] = part;
    messages.receive(part, size_bytes, from);
  }
  for (int step = 1; step < size_; ++step) messages.send(data, size_bytes, peer(step));
  messages.finish();
  return parts_;
}

void MpiCommunicator::all_reduce(const TensorView& data) {
  if (size_ == 1) return;
  const std::size_t element_bytes = trireme::size_of(data.dtype);
  std::byte* const memory = bytes_of(data);
  const std::size_t size_bytes = data.size_bytes();
  if (size_bytes <= max_direct_bytes(size_)) {
    return sum_directly(data.dtype, memory, size_bytes / element_bytes);
  }
  for (std::size_t begin = 0; begin < size_bytes; begin += kBlockBytes) {
    const std::size_t count = std::min(kBlockBytes, size_bytes - begin) / element_bytes;
    sum_by_pieces(data.dtype, memory + begin, count);
  }
}

void MpiCommunicator::sum_directly(DType dtype, std::byte* data, std::size_t num_elements) {
  const std::size_t size_bytes = num_elements * trireme::size_of(dtype);
  ordered_sum(dtype, swap_with_all(data, size_bytes), data, num_elements);
}

void MpiCommunicator::sum_by_pieces(DType dtype, std::byte* data, std::size_t num_elements) {
  const std::size_t element_bytes = trireme::size_of(dtype);
  const std::size_t size_bytes = num_elements * element_bytes;
  const auto num_ranks = static_cast<std::size_t>(size_);
  const std::size_t even = (size_bytes + num_ranks - 1) / num_ranks;
  const std::size_t stride = (even + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
  const auto begin_of = [&](int rank) {
    return std::min(size_bytes, stride * static_cast<std::size_t>(rank));
  };
  const auto size_of_piece = [&](int rank) { return begin_of(rank + 1) - begin_of(rank); };

  // Each rank sums the piece that has its number...
  const std::size_t own_bytes = size_of_piece(rank_);
  std::byte* const own = data + begin_of(rank_);
  std::byte* const memory = scratch(own_bytes * num_ranks);
  parts_.assign(num_ranks, own);
  Exchange to_owners = exchange();
  for (int step = size_ - 1; step > 0; --step) {
    const int from = peer(step);
    std::byte* const part = memory + own_bytes * static_cast<std::size_t>(from);
    parts_[static_cast<std::size_t>(from)] = part;
    to_owners.receive(part, own_bytes, from);
  }
  for (int step = 1; step < size_; ++step) {
    const int to = peer(step);
    to_owners.send(data + begin_of(to), size_of_piece(to), to);
  }
  to_owners.finish();
  ordered_sum(dtype, parts_, own, own_bytes / element_bytes);

  // ... and gives the sum to all.
  Exchange to_all = exchange();
  for (int step = size_ - 1; step > 0; --step) {
    const int from = peer(step);
    to_all.receive(data + begin_of(from), size_of_piece(from), from);
  }
  for (int step = 1; step < size_; ++step) to_all.send(own, own_bytes, peer(step));
  to_all.finish();
}

void MpiCommunicator::all_reduce_max(const TensorView& data) {
  if (size_ == 1) return;
  std::byte* const memory = bytes_of(data);
  const std::size_t element_bytes = trireme::size_of(data.dtype);
  for (std::size_t begin = 0; begin < data.size_bytes(); begin += kBlockBytes) {
    const std::size_t count = std::min(kBlockBytes, data.size_bytes() - begin);
    ordered_max(data.dtype, swap_with_all(memory + begin, count), memory + begin,
                count / element_bytes);
  }
}

void MpiCommunicator::all_gather(const TensorView& in, const TensorView& out,
                                 std::span<const std::int64_t> counts) {
  check_same_rows(in, out);
  const Parts parts = parts_of(out, counts);
  TRIREME_CHECK(in.rows() == counts[static_cast<std::size_t>(rank_)], "in=", in.shape.text(),
                " count=", counts[static_cast<std::size_t>(rank_)]);
  const std::byte* const source = bytes_of(in);
  std::byte* const target = bytes_of(out);
  Exchange messages = exchange();
  for (int step = size_ - 1; step > 0; --step) {
    const int from = peer(step);
    messages.receive(target + parts.begins[static_cast<std::size_t>(from)], parts.size_of(from),
                     from);
  }
  for (int step = 1; step < size_; ++step) messages.send(source, in.size_bytes(), peer(step));
  copy(source, target + parts.begins[static_cast<std::size_t>(rank_)], in.size_bytes());
  messages.finish();
}

void MpiCommunicator::reduce_scatter(const TensorView& in, const TensorView& out,
                                     std::span<const std::int64_t> counts) {
  check_same_rows(in, out);
  const Parts parts = parts_of(in, counts);
  TRIREME_CHECK(out.rows() == counts[static_cast<std::size_t>(rank_)], "out=", out.shape.text(),
                " count=", counts[static_cast<std::size_t>(rank_)]);
  const std::byte* const source = bytes_of(in);
  std::byte* const target = bytes_of(out);
  const std::size_t own_bytes = out.size_bytes();
  const std::byte* const own = source + parts.begins[static_cast<std::size_t>(rank_)];
  if (size_ == 1) return copy(own, target, own_bytes);

  std::byte* const memory = scratch(own_bytes * static_cast<std::size_t>(size_));
  parts_.assign(static_cast<std::size_t>(size_), own);
  Exchange messages = exchange();
  for (int step = size_ - 1; step > 0; --step) {
    const int from = peer(step);
    std::byte* const part = memory + own_bytes * static_cast<std::size_t>(from);
    parts_[static_cast<std::size_t>(from)] = part;
    messages.receive(part, own_bytes, from);
  }
  for (int step = 1; step < size_; ++step) {
    const int to = peer(step);
    messages.send(source + parts.begins[static_cast<std::size_t>(to)], parts.size_of(to), to);
  }
  messages.finish();
  ordered_sum(in.dtype, parts_, target, own_bytes / trireme::size_of(in.dtype));
}

void MpiCommunicator::all_to_all(const TensorView& in, std::span<const std::int64_t> send_counts,
                                 const TensorView& out, std::span<const std::int64_t> recv_counts) {
  check_same_rows(in, out);
  const Parts sent = parts_of(in, send_counts);
  const Parts received = parts_of(out, recv_counts);
  const auto own = static_cast<std::size_t>(rank_);
  TRIREME_CHECK(send_counts[own] == recv_counts[own], "sent=", send_counts[own],
                " received=", recv_counts[own]);
  const std::byte* const source = bytes_of(in);
  std::byte* const target = bytes_of(out);
  Exchange messages = exchange();
  for (int step = size_ - 1; step > 0; --step) {
    const int from = peer(step);
    messages.receive(target + received.begins[static_cast<std::size_t>(from)],
                     received.size_of(from), from);
  }
  for (int step = 1; step < size_; ++step) {
    const int to = peer(step);
    messages.send(source + sent.begins[static_cast<std::size_t>(to)], sent.size_of(to), to);
  }
  copy(source + sent.begins[own], target + received.begins[own], sent.size_of(rank_));
  messages.finish();
}

void MpiCommunicator::broadcast(const TensorView& data, int root) {
  TRIREME_CHECK(root >= 0 && root < size_, "root=", root, " ranks=", size_);
  if (size_ == 1) return;
  std::byte* const memory = bytes_of(data);
  Exchange messages = exchange();
  if (rank_ == root) {
    for (int step = 1; step < size_; ++step) messages.send(memory, data.size_bytes(), peer(step));
  } else {
    messages.receive(memory, data.size_bytes(), root);
  }
  messages.finish();
}

std::unique_ptr<Transfer> MpiCommunicator::send(const TensorView& data, int to) {
  TRIREME_CHECK(to >= 0 && to < size_ && to != rank_, "to=", to, " rank=", rank_, "/", size_);
  auto transfer = std::make_unique<MpiTransfer>(group_.get());
  transfer->exchange().send(bytes_of(data), data.size_bytes(), to);
  return transfer;
}

std::unique_ptr<Transfer> MpiCommunicator::receive(const TensorView& data, int from) {
  TRIREME_CHECK(from >= 0 && from < size_ && from != rank_, "from=", from, " rank=", rank_, "/",
                size_);
  auto transfer = std::make_unique<MpiTransfer>(group_.get());
  transfer->exchange().receive(bytes_of(data), data.size_bytes(), from);
  return transfer;
}

void MpiCommunicator::barrier() {
  // Round k tells the rank 2^k ahead; after all rounds everybody has heard of everybody.
  std::byte sent{}, received{};
  for (int distance = 1; distance < size_; distance *= 2) {
    Exchange messages = exchange();
    messages.receive(&received, 1, (rank_ + size_ - distance) % size_);
    messages.send(&sent, 1, peer(distance));
    messages.finish();
  }
}

}  // namespace trireme::comm
