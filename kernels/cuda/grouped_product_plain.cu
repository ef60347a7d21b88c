#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kDepth = 16;

/// kTile places x kTile columns a cta; a thread has 4 x 4 of them, 16 apart. Sums in order of k.
template <typename T>
__global__ void __launch_bounds__(256) plain_kernel(const GroupedProduct p) {
  __shared__ float x_tile[kDepth][kTile + 1], w_tile[kDepth][kTile + 1];
  const ExpertTile tile = find_expert_tile<kTile>(p.expert_begin, static_cast<int>(p.num_slots),
                                                  static_cast<int>(blockIdx.y));
  if (tile.slot < 0) return;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const T* x = static_cast<const T*>(p.x);
  const T* w = static_cast<const T*>(p.weight) + tile.slot * p.n * p.k;
  const int across = threadIdx.x % 16, down = threadIdx.x / 16;
  float sums[4][4] = {};
  for (std::int64_t begin = 0; begin < p.k; begin += kDepth) {
    for (int i = threadIdx.x; i < kTile * kDepth; i += 256) {
      const int depth = i % kDepth, row = i / kDepth, place = tile.begin + row;
      const std::int64_t at = begin + depth, column = first_column + row;
      const bool has_x = at < p.k && place < tile.end, has_w = at < p.k && column < p.n;
      const std::int64_t x_row = has_x ? row_of_place(p, place) : 0;
      x_tile[depth][row] = has_x ? to_float(x[x_row * p.x_stride + at]) : 0.0f;
      w_tile[depth][row] = has_w ? to_float(w[weight_row(p, column) * p.k + at]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sums[i][j] += x_tile[depth][down + 16 * i] * w_tile[depth][across + 16 * j];
        }
      }
    }
    __syncthreads();
  }
  T* y = static_cast<T*>(p.y);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::int64_t place = tile.begin + down + 16 * i;
    if (place >= tile.end) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t column = first_column + across + 16 * j;
      if (column >= p.n) continue;
      if (!p.has_silu_and_mul) {
        y[place * p.n + column] = from_float<T>(sums[i][j]);
      } else if (j % 2 == 0) {
        const float gate = sums[i][j];
        y[place * (p.n / 2) + weight_row(p, column)] =
            from_float<T>(gate / (1.0f + __expf(-gate)) * sums[i][j + 1]);
      }
    }
  }
}

}  // namespace

void grouped_product_plain(const GroupedProduct& product, Stream stream) {
  TRIREME_CHECK(!product.has_silu_and_mul || product.n % 32 == 0, "n=", product.n,
                "; silu_and_mul inside a product takes multiples of 32");
  const dim3 grid(static_cast<unsigned>(ceil_div(product.n, kTile)),
                  static_cast<unsigned>(num_expert_tiles<kTile>(product)));
  with_float_type(product.dtype, [&](auto zero) {
    plain_kernel<decltype(zero)><<<grid, 256, 0, stream>>>(product);
  });
}

}  // namespace trireme::kernels::cuda
