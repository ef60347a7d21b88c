#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "kernels/fill.h"
#include "tensor/device.h"
#include "tensor/tensor.h"

namespace trireme::apps {

/// Random numbers in a GPU's memory, handed out piece by piece, again and again: what one call of a
/// kernel has read is no longer in the cache when its turn comes again. Read as float32 they are
/// finite numbers too.
class OperandPool {
 public:
  OperandPool(std::size_t bytes, DType dtype)
      : buffer_(bytes, "the operands to time kernels with", "--tokens or --context") {
    const tensor::Stream stream;
    const auto count = static_cast<std::int64_t>(bytes / size_of(dtype));
    kernels::cuda::fill_normal(buffer_.data(), dtype, count, {}, 1, 0.5f, stream.get());
    stream.synchronize();
  }

  /// Another piece at every call until the pool begins anew; 4096-byte aligned.
  tensor::TensorView next(const tensor::Shape& shape, DType dtype) {
    constexpr std::size_t kAlignment = 4096;
    const std::size_t wanted = static_cast<std::size_t>(shape.num_elements()) * size_of(dtype);
    const std::size_t size = (wanted + kAlignment - 1) / kAlignment * kAlignment;
    TRIREME_CHECK(size <= buffer_.size_bytes(), "size=", size, " pool=", buffer_.size_bytes());
    if (size > buffer_.size_bytes() - at_) at_ = 0;
    void* memory = static_cast<std::byte*>(buffer_.data()) + at_;
    at_ += size;
    return {memory, dtype, shape};
  }

  std::size_t size_bytes() const { return buffer_.size_bytes(); }

 private:
  tensor::DeviceBuffer buffer_;
  std::size_t at_ = 0;
};

/// A copy of the values in the GPU's memory.
template <typename T>
tensor::DeviceBuffer to_device(const std::vector<T>& values) {
  const std::size_t bytes = values.size() * sizeof(T);
  tensor::DeviceBuffer buffer(bytes, "the indices to time kernels with", "--tokens or --context");
  const tensor::Stream stream;
  stream.copy_to_device(buffer.data(), values.data(), bytes);
  stream.synchronize();
  return buffer;
}

}  // namespace trireme::apps
