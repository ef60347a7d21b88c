#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/weight_loader.h"
#include "tensor/tensor.h"

namespace trireme::checkpoint {

/// Elements of a stored tensor in row-major order: `count` runs of `length`, the first at `offset`,
/// each `stride` after the one before. Every slice along one dimension has this form.
struct Runs {
  std::int64_t offset = 0, length = 0, stride = 0, count = 0;

  std::int64_t num_elements() const { return length * count; }
  std::int64_t end() const { return count == 0 ? 0 : offset + (count - 1) * stride + length; }
  /// How many of these elements stand before `element` of the tensor.
  std::int64_t count_before(std::int64_t element) const;
  /// The run that holds the n-th of these elements, and where it goes on to.
  std::int64_t element(std::int64_t nth) const {
    return offset + nth / length * stride + nth % length;
  }
};

Runs runs_of_slice(const tensor::Shape& shape, const Slice& slice);

/// A slice that a rank of the node wants. Tensors are numbered in the order in which they lie in
/// files.
struct WantedSlice {
  int rank = 0;
  std::int32_t tensor_idx = 0;
  Runs runs;
};

/// A stretch of one tensor that one rank reads.
struct Piece {
  std::int32_t tensor_idx = 0;
  std::int64_t begin = 0, end = 0;  ///< elements
  int reader = 0;
  std::vector<std::int32_t> wants;  ///< who needs something of it: indices of the wanted slices
};

/// Pieces that are read at the same time: at most `max_bytes` by each rank.
using Round = std::vector<Piece>;

/// Cuts everything wanted into pieces and gives each to one of the ranks that want it, the one with
/// the fewest bytes so far. No element is in two pieces, none that nobody wants is read except
/// between the runs of a slice. The same on every rank for the same arguments.
///   element_bytes  by tensor_idx
std::vector<Round> plan_load(std::span<const WantedSlice> wants,
                             std::span<const std::int64_t> element_bytes, int num_ranks,
                             std::int64_t max_bytes);

}  // namespace trireme::checkpoint
