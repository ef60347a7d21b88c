#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace trireme::tensor {

/// Workspace of one step: tensors are handed out one after the other and all given back together.
/// Grows to the largest step once, and then allocates nothing.
class Arena {
 public:
  explicit Arena(std::size_t first_chunk_bytes = std::size_t{1} << 20);

  /// Uninitialised memory, 64-byte aligned, valid until the scope it was taken in ends.
  TensorView take(const Shape& shape, DType dtype);

  /// Gives everything taken since `mark()` back.
  struct Mark {
    std::size_t chunk = 0, used_bytes = 0;
  };
  Mark mark() const { return at_; }
  void release(const Mark& mark) { at_ = mark; }

 private:
  std::vector<Tensor> chunks_;
  Mark at_;
};

/// What is taken from the arena while this lives is given back at its end.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

}  // namespace trireme::tensor
