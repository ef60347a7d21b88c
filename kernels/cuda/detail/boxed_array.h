#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"

/// CUtensorMap of the driver's header, which only users of the map need.
struct CUtensorMap_st;

namespace trireme::kernels::cuda {

/// An array of two-byte elements in device memory, innermost dimension first, and the box of it
/// that one bulk copy brings.
struct BoxedArray {
  const void* data = nullptr;  ///< aligned to 16 bytes
  DType dtype = DType::bfloat16;
  int ndim = 2;
  std::array<std::uint64_t, 3> extent{1, 1, 1};
  std::array<std::uint64_t, 2> stride{};  ///< elements, of the dimensions behind the first
  std::array<std::uint32_t, 3> box{1, 1, 1};
};

/// What the copy engine takes. A box's rows are 128 bytes and lie in shared memory in the swizzled
/// order that Hopper's products read. Throws Error(cuda) for what the driver refuses.
CUtensorMap_st boxes_of(const BoxedArray& array);

}  // namespace trireme::kernels::cuda
