#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "tensor/tensor.h"

namespace trireme::comm {

using tensor::TensorView;

/// A transfer that was started. wait() completes it; destroying it without wait() waits too.
class Transfer {
 public:
  virtual ~Transfer() = default;
  virtual void wait() = 0;
  virtual bool test() = 0;
};

/// Moves tensors between the ranks of one group: the data plane. All calls are collective over the
/// group and made in the same order by all its members, except the point-to-point ones. On a group
/// of one rank no call leaves the process. Tensors are contiguous; the dtype is the same on all
/// ranks. Errors throw Error(mpi), Error(nccl).
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// data = Σ over the ranks, in rank order, in float32: all ranks get the same bits whatever the
  /// size. float32, bfloat16, float16.
  virtual void all_reduce(const TensorView& data) = 0;
  /// data = the largest of each element (float32, int32, int64).
  virtual void all_reduce_max(const TensorView& data) = 0;
  /// out = the ranks' `in` one after the other; rank r gives counts[r] rows (out's outermost extent
  /// is their sum, in's is counts[rank()]).
  virtual void all_gather(const TensorView& in, const TensorView& out,
                          std::span<const std::int64_t> counts) = 0;
  /// Σ over the ranks of `in` in rank order; rank r keeps rows of its part: counts[r] rows in
  /// `out`.
  virtual void reduce_scatter(const TensorView& in, const TensorView& out,
                              std::span<const std::int64_t> counts) = 0;
  /// in holds send_counts[r] rows for each rank r one after the other; out receives recv_counts[r].
  virtual void all_to_all(const TensorView& in, std::span<const std::int64_t> send_counts,
                          const TensorView& out, std::span<const std::int64_t> recv_counts) = 0;
  virtual void broadcast(const TensorView& data, int root) = 0;
  /// Non-blocking; the memory belongs to the transfer until it is waited for. Messages between two
  /// ranks arrive in the order they were sent.
  virtual std::unique_ptr<Transfer> send(const TensorView& data, int to) = 0;
  virtual std::unique_ptr<Transfer> receive(const TensorView& data, int from) = 0;
  virtual void barrier() = 0;
};

}  // namespace trireme::comm
