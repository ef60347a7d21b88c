#include "kernels/embedding.h"

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

template <typename T, int N>
__global__ void embedding_kernel(const std::int32_t* ids, const T* table, std::int64_t vocab_begin,
                                 std::int64_t num_rows, std::int64_t size, T* y) {
  // In this order: what is ahead of an embedding, a step's arrays, is settled behind it.
  wait_for_earlier_kernels();
  start_next_kernel();
  const std::int64_t token = blockIdx.x;
  const std::int64_t row = ids[token] - vocab_begin;
  const bool is_here = row >= 0 && row < num_rows;
  for (std::int64_t i = threadIdx.x * N; i < size; i += blockDim.x * N) {
    Pack<T, N> pack = {};
    if (is_here) pack = load_pack<T, N>(table + row * size + i);
    store_pack<T, N>(y + token * size + i, pack);
  }
}

}  // namespace

void embedding(const std::int32_t* ids, std::int64_t num_tokens, const void* table,
               std::int64_t vocab_begin, std::int64_t num_rows, std::int64_t size, void* y,
               DType dtype, Stream stream) {
  if (num_tokens == 0) return;
  const auto grid = static_cast<unsigned>(num_tokens);
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = [&](auto kernel, int width) {
      launch_overlapped(kernel, {grid, threads_for(ceil_div(size, width), 512)}, stream, ids,
                        static_cast<const T*>(table), vocab_begin, num_rows, size,
                        static_cast<T*>(y));
    };
    constexpr int kWide = 16 / sizeof(T);
    if (vector_width<T>({table, y}, {size}) == kWide) {
      launch(embedding_kernel<T, kWide>, kWide);
    } else {
      launch(embedding_kernel<T, 1>, 1);
    }
  });
  check_launch("embedding");
}

}  // namespace trireme::kernels::cuda
