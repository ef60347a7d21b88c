#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi/exchange.h"
#include "comm/mpi_comm.h"

namespace trireme::comm {

/// Tensors in host memory over MPI point-to-point messages: the CPU path and the oracle of the
/// tests.
class MpiCommunicator final : public Communicator {
 public:
  /// Nothing else may use `group`; an empty one is a group of this rank alone.
  explicit MpiCommunicator(MpiComm group);

  /// Sums of up to this many bytes take one round of whole messages, larger ones two of pieces.
  static std::size_t max_direct_bytes(int num_ranks);

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(const TensorView& data) override;
  void all_reduce_max(const TensorView& data) override;
  void all_gather(const TensorView& in, const TensorView& out,
                  std::span<const std::int64_t> counts) override;
  void reduce_scatter(const TensorView& in, const TensorView& out,
                      std::span<const std::int64_t> counts) override;
  void all_to_all(const TensorView& in, std::span<const std::int64_t> send_counts,
                  const TensorView& out, std::span<const std::int64_t> recv_counts) override;
  void broadcast(const TensorView& data, int root) override;
  std::unique_ptr<Transfer> send(const TensorView& data, int to) override;
  std::unique_ptr<Transfer> receive(const TensorView& data, int from) override;
  void barrier() override;

 private:
  /// The slices of each rank in a tensor that holds them one after the other.
  struct Parts {
    std::vector<std::size_t> begins;  ///< bytes, one more than ranks
    std::size_t size_of(int rank) const;
  };
  Parts parts_of(const TensorView& whole, std::span<const std::int64_t> counts) const;

  Exchange exchange() const;
  /// The others in an order that spreads the messages: the next rank first.
  int peer(int step) const { return (rank_ + step) % size_; }
  void sum_directly(DType dtype, std::byte* data, std::size_t num_elements);
  void sum_by_pieces(DType dtype, std::byte* data, std::size_t num_elements);
  /// Swaps `size_bytes` with all others; their data and the own in rank order, valid until the next
  /// call.
  std::span<const void* const> swap_with_all(const std::byte* data, std::size_t size_bytes);
  std::byte* scratch(std::size_t size_bytes);

  MpiComm group_;
  int rank_ = 0;
  int size_ = 1;
  std::unique_ptr<std::byte[]> scratch_;
  std::size_t scratch_bytes_ = 0;
  std::vector<const void*> parts_;
};

}  // namespace trireme::comm
