#include "kernels/fill.h"

#include <algorithm>

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

template <typename T>
__global__ void fill_normal_kernel(T* y, std::int64_t count, FillRuns runs, std::uint64_t key,
                                   float scale) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    y[i] = from_float<T>(static_cast<float>(normal_draw(key, runs.place(i))) * scale);
  }
}

}  // namespace

void fill_normal(void* y, DType dtype, std::int64_t count, const FillRuns& runs, std::uint64_t key,
                 float deviation, Stream stream) {
  if (count == 0) return;
  constexpr int kThreads = 256;
  const std::int64_t most_ctas = std::int64_t{16} * num_multiprocessors();
  const auto grid = static_cast<unsigned>(std::min(ceil_div(count, kThreads), most_ctas));
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    fill_normal_kernel<<<grid, kThreads, 0, stream>>>(static_cast<T*>(y), count, runs, key,
                                                      deviation / kNormalDrawDeviation);
  });
  check_launch("fill_normal");
}

}  // namespace trireme::kernels::cuda
