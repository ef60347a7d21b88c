#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace trireme::tensor {

/// Workspace of one step: tensors are handed out one after the other and all given back together.
/// In the host's memory it grows to the largest step once, and then allocates nothing; over memory
/// that is given (a GPU's) it never grows.
class Arena {
 public:
  explicit Arena(std::size_t first_chunk_bytes = std::size_t{1} << 20);
  /// Over memory that outlives the arena. More than that throws Error(out_of_memory).
  Arena(void* memory, std::size_t bytes);

  /// Uninitialised memory, 64-byte aligned (256 over given memory), valid until the scope it was
  /// taken in ends.
  TensorView take(const Shape& shape, DType dtype);

  /// Gives everything taken since `mark()` back.
  struct Mark {
    std::size_t chunk = 0, used_bytes = 0;
  };
  Mark mark() const { return at_; }
  void release(const Mark& mark) { at_ = mark; }

 private:
  struct Chunk {
    std::byte* begin = nullptr;
    std::size_t size_bytes = 0;
  };
  void add_chunk(std::size_t bytes);

  std::vector<Tensor> owned_;
  std::vector<Chunk> chunks_;
  std::size_t alignment_ = 64;
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
