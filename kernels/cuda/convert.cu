#include "kernels/convert.h"

#include <algorithm>

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

template <typename Source, typename Destination>
__global__ void convert_kernel(const Source* source, Destination* destination, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    destination[i] = from_float<Destination>(to_float(source[i]));
  }
}

}  // namespace

void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype,
             std::int64_t count, Stream stream) {
  if (count == 0) return;
  constexpr int kThreads = 256;
  const std::int64_t most_ctas = std::int64_t{16} * num_multiprocessors();
  const auto grid = static_cast<unsigned>(std::min(ceil_div(count, kThreads), most_ctas));
  with_float_type(source_dtype, [&](auto from) {
    with_float_type(destination_dtype, [&](auto to) {
      using Source = decltype(from);
      using Destination = decltype(to);
      convert_kernel<<<grid, kThreads, 0, stream>>>(static_cast<const Source*>(source),
                                                    static_cast<Destination*>(destination), count);
    });
  });
  check_launch("convert");
}

}  // namespace trireme::kernels::cuda
