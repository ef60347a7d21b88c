#include "tensor/arena.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::tensor {

Arena::Arena(std::size_t first_chunk_bytes) { add_chunk(first_chunk_bytes); }

Arena::Arena(void* memory, std::size_t bytes)
    : chunks_{{static_cast<std::byte*>(memory), bytes}}, alignment_(256) {}

void Arena::add_chunk(std::size_t bytes) {
  const Tensor& chunk = owned_.emplace_back(Shape{static_cast<std::int64_t>(bytes)}, DType::uint8);
  chunks_.push_back({static_cast<std::byte*>(chunk.view().data), bytes});
}

TensorView Arena::take(const Shape& shape, DType dtype) {
  TensorView view(nullptr, dtype, shape);
  const std::size_t bytes = (view.size_bytes() + alignment_ - 1) / alignment_ * alignment_;
  while (at_.used_bytes + bytes > chunks_[at_.chunk].size_bytes) {
    if (at_.chunk + 1 == chunks_.size()) {
      if (owned_.empty()) {
        fail(ErrorKind::out_of_memory,
             cat("a step needs more than its ", chunks_[0].size_bytes,
                 " bytes of workspace: ", at_.used_bytes, " are taken and a tensor ", shape.text(),
                 " of ", name_of(dtype), " is asked for"));
      }
      add_chunk(std::max(bytes, 2 * chunks_.back().size_bytes));
    }
    at_ = {at_.chunk + 1, 0};
  }
  view.data = chunks_[at_.chunk].begin + at_.used_bytes;
  at_.used_bytes += bytes;
  return view;
}

}  // namespace trireme::tensor
