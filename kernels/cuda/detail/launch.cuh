#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <type_traits>

#include "base/dtype.h"
#include "base/error.h"
#include "kernels/cuda_stream.h"

/// What every launcher needs: launches that overlap, types by DType, widths of vectors, and the
/// check at its end.
///
/// A kernel launched by launch_overlapped begins while the one before it in the stream still runs,
/// so that its launch, its set-up and its first weights cost nothing. This is safe only because
/// every such kernel keeps to the rules:
///  1. It calls wait_for_earlier_kernels() before it reads what a kernel has written, and before it
///     writes anything. The wait ends when the kernel before has ended, which has itself waited for
///     the one before it: so what one kernel leaves out breaks the chain for all behind it. A cta
///     that has nothing to do may leave it out if another one of its grid always waits.
///  2. Before the wait it reads what never changes (weights, tables), and past the L1 cache
///     (__ldcg, cp.async.cg) what is settled: written ahead of a kernel that lets the next one
///     start only behind its own wait, or that is launched plainly. Products and embedding() are
///     such.
///  3. It calls start_next_kernel() where the next one's ctas and first loads are welcome: at once
///     if it is small; behind its last load if it streams weights, or the next kernel takes its
///     places and its share of the memory.
/// Kernels launched plainly begin when all before them have ended.
namespace trireme::kernels::cuda {

/// Waits until the kernels before have ended and what they have written can be seen.
__device__ inline void wait_for_earlier_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Lets the next kernel begin once every cta of this one has called it or has ended.
__device__ inline void start_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Tells by its attributes for which GPU the code that runs was made.
template <typename = void>
__global__ void empty_kernel() {}

/// Whether launches overlap: where the code that runs has the wait, unless the environment variable
/// TRIREME_SERIAL_LAUNCHES is set, by which one measures what the overlap is worth.
inline bool has_overlap() {
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    return std::getenv("TRIREME_SERIAL_LAUNCHES") == nullptr &&
           cudaFuncGetAttributes(&attributes, empty_kernel<>) == cudaSuccess &&
           attributes.ptxVersion >= 90;
  }();
  return has_it;
}

struct LaunchShape {
  dim3 grid;
  unsigned threads = 0;
  std::size_t shared_bytes = 0;  ///< dynamic
};

/// Launches a kernel that keeps to the rules above; under capture it becomes a programmatic edge of
/// the graph.
template <typename... Parameters>
void launch_overlapped(void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream,
                       const std::type_identity_t<Parameters>&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = has_overlap() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, arguments...);
}

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
