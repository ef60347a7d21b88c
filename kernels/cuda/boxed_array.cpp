#include "kernels/cuda/detail/boxed_array.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "base/error.h"

namespace trireme::kernels::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// Asked of the runtime, so that the program needs no driver library where there is no GPU.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                              12000, cudaEnableDefault, &found);
#else
  const cudaError_t status =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  if (status != cudaSuccess || found != cudaDriverEntryPointSuccess) {
    fail(ErrorKind::cuda,
         "the CUDA driver has no cuTensorMapEncodeTiled; it must be 12.0 or newer");
  }
  return reinterpret_cast<Encode>(function);
}

}  // namespace

CUtensorMap boxes_of(const BoxedArray& array) {
  static const Encode encode = find_encode();
  const std::uint64_t bytes = size_of(array.dtype);
  const std::array<cuuint64_t, 3> extent{array.extent[0], array.extent[1], array.extent[2]};
  const std::array<cuuint64_t, 2> stride{array.stride[0] * bytes, array.stride[1] * bytes};
  const std::array<cuuint32_t, 3> steps{1, 1, 1};
  CUtensorMap map;
  const CUresult status =
      encode(&map,
             array.dtype == DType::bfloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                            : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
             static_cast<cuuint32_t>(array.ndim), const_cast<void*>(array.data), extent.data(),
             stride.data(), array.box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    fail(ErrorKind::cuda,
         cat("cuTensorMapEncodeTiled refused boxes of ", array.box[0], " x ", array.box[1], " x ",
             array.box[2], " of an array of ", array.extent[0], " x ", array.extent[1], " x ",
             array.extent[2], " with strides of ", array.stride[0], " and ", array.stride[1],
             " elements: error ", static_cast<int>(status)));
  }
  return map;
}

}  // namespace trireme::kernels::cuda
