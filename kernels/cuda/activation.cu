#include "kernels/activation.h"

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/silu.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

/// One pack a thread.
template <typename T, int N>
__global__ void silu_and_mul_kernel(const T* gate_up, T* y, std::int64_t num_packs,
                                    unsigned packs_per_row) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t pack = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pack >= num_packs) return;
  // The launcher keeps the number of packs below 2^32: a 32-bit division is much cheaper.
  const unsigned row = static_cast<unsigned>(pack) / packs_per_row;
  const std::int64_t size = static_cast<std::int64_t>(packs_per_row) * N;
  const T* gate = gate_up + (pack + static_cast<std::int64_t>(row) * packs_per_row) * N;
  const Pack<T, N> gates = load_pack<T, N>(gate), ups = load_pack<T, N>(gate + size);
  Pack<T, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    result.at[i] = from_float<T>(silu_times(to_float(gates.at[i]), to_float(ups.at[i])));
  }
  store_pack<T, N>(y + pack * N, result);
}

}  // namespace

void silu_and_mul(const void* gate_up, void* y, std::int64_t num_rows, std::int64_t size,
                  DType dtype, Stream stream) {
  if (num_rows == 0 || size == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto kernel, int width) {
      const std::int64_t packs = num_rows * size / width;
      TRIREME_CHECK(packs < (std::int64_t{1} << 32), "num_rows=", num_rows, " size=", size);
      // Few packs in small ctas reach more multiprocessors.
      const unsigned threads = packs < 16384 ? 64 : 256;
      launch_overlapped(kernel, {static_cast<unsigned>(ceil_div(packs, threads)), threads}, stream,
                        static_cast<const T*>(gate_up), static_cast<T*>(y), packs,
                        static_cast<unsigned>(size / width));
    };
    constexpr int kWide = 16 / sizeof(T);
    if (vector_width<T>({gate_up, y}, {size}) == kWide) {
      launch(silu_and_mul_kernel<T, kWide>, kWide);
    } else {
      launch(silu_and_mul_kernel<T, 1>, 1);
    }
  });
  check_launch("silu_and_mul");
}

}  // namespace trireme::kernels::cuda
