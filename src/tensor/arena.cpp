#include "tensor/arena.h"

#include <algorithm>

namespace trireme::tensor {

Arena::Arena(std::size_t first_chunk_bytes) {
  chunks_.emplace_back(Shape{static_cast<std::int64_t>(first_chunk_bytes)}, DType::uint8);
}

TensorView Arena::take(const Shape& shape, DType dtype) {
  TensorView view(nullptr, dtype, shape);
  const std::size_t bytes = (view.size_bytes() + 63) / 64 * 64;
  while (at_.used_bytes + bytes > chunks_[at_.chunk].size_bytes()) {
    if (at_.chunk + 1 == chunks_.size()) {
      const std::size_t size = std::max(bytes, 2 * chunks_.back().size_bytes());
      chunks_.emplace_back(Shape{static_cast<std::int64_t>(size)}, DType::uint8);
    }
    at_ = {at_.chunk + 1, 0};
  }
  view.data = chunks_[at_.chunk].view().as<std::uint8_t>() + at_.used_bytes;
  at_.used_bytes += bytes;
  return view;
}

}  // namespace trireme::tensor
