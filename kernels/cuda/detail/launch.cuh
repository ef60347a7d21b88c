#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>

#include "base/dtype.h"
#include "base/error.h"

/// What every launcher needs: types by DType, widths of vectors, and the check at its end.
namespace trireme::kernels::cuda {

inline void check_launch(const char* kernel) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    fail(ErrorKind::cuda, cat("launch of ", kernel, ": ", cudaGetErrorString(status)));
  }
}

/// Calls `work` with a zero of the device's type for a floating dtype.
template <typename Work>
void with_float_type(DType dtype, const Work& work) {
  switch (dtype) {
    case DType::float32:
      return work(float{});
    case DType::bfloat16:
      return work(__nv_bfloat16{});
    case DType::float16:
      return work(__half{});
    default:
      fail(ErrorKind::internal, cat("no kernel for ", name_of(dtype)));
  }
}

/// Elements of 16 bytes if every pointer is aligned to that and every extent or stride a multiple
/// of it; else 1.
template <typename T>
int vector_width(std::initializer_list<const void*> pointers,
                 std::initializer_list<std::int64_t> extents) {
  constexpr int width = 16 / sizeof(T);
  for (const void* pointer : pointers) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0) return 1;
  }
  for (const std::int64_t extent : extents) {
    if (extent % width != 0) return 1;
  }
  return width;
}

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Threads of a cta that has one row of `count` packs to do, at most `most`.
inline unsigned threads_for(std::int64_t count, unsigned most) {
  const std::int64_t wanted = ceil_div(count > 0 ? count : 1, 32) * 32;
  return wanted < most ? static_cast<unsigned>(wanted) : most;
}

/// Multiprocessors of the current device.
inline int num_multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

}  // namespace trireme::kernels::cuda
