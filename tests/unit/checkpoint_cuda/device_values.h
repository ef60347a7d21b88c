#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tensor/device.h"
#include "tensor/tensor.h"

namespace trireme::test {

/// The bytes of a tensor in the GPU's memory.
inline std::vector<std::uint8_t> bytes_on_device(const tensor::TensorView& view) {
  std::vector<std::uint8_t> bytes(view.size_bytes());
  const tensor::Stream stream;
  stream.copy_to_host(bytes.data(), view.data, bytes.size());
  stream.synchronize();
  return bytes;
}

/// The bytes of a tensor in the host's memory.
inline std::vector<std::uint8_t> bytes_on_host(const tensor::TensorView& view) {
  const auto* begin = static_cast<const std::uint8_t*>(view.data);
  return {begin, begin + view.size_bytes()};
}

}  // namespace trireme::test
