#include "kernels/cuda/detail/small_product.h"

#include "kernels/cuda/detail/stream_launch.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/cuda/detail/weight_stream.cuh"

namespace trireme::kernels::cuda {
namespace {

template <typename T, typename Tile>
struct DenseTiles {
  const Gemm::Operands& o;
  int k;

  __device__ explicit DenseTiles(const Gemm::Operands& operands)
      : o(operands), k(static_cast<int>(operands.k)) {}
  __device__ int num_tiles() const {
    return static_cast<int>((o.n + Tile::kRows - 1) / Tile::kRows);
  }
  __device__ WeightTile<T> weight_tile(int tile) const {
    constexpr int kHalf = Tile::kRows / 2;
    const std::int64_t column = static_cast<std::int64_t>(tile) * Tile::kRows;
    const T* first = static_cast<const T*>(o.weight) + column * o.k;
    const int left = static_cast<int>(o.n - column);
    return {{first, first + kHalf * o.k}, {left, left - kHalf}};
  }
  __device__ const T* x_row(int, int token) const {
    return token < o.m ? static_cast<const T*>(o.x) + token * o.x_stride : nullptr;
  }
  __device__ void store(int tile, const TileSums<Tile>& sums) const {
    const std::int64_t first = static_cast<std::int64_t>(tile) * Tile::kRows;
    const int num_sums = static_cast<int>(o.m) * Tile::kRows;
    for (int i = threadIdx.x; i < num_sums; i += Tile::kThreads) {
      const int token = i / Tile::kRows, row = i % Tile::kRows;
      const std::int64_t column = first + row;
      if (column >= o.n) continue;
      float sum = sums(token, row);
      if (o.bias != nullptr) sum += o.bias[column];
      const std::int64_t at = token * o.y_stride + column;
      if (o.y_dtype == DType::float32) {
        static_cast<float*>(o.y)[at] = sum;
      } else {
        static_cast<T*>(o.y)[at] = from_float<T>(sum);
      }
    }
  }
};

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kCtas)
    small_product_kernel(const __grid_constant__ Gemm::Operands operands) {
  extern __shared__ __align__(128) unsigned char memory[];
  stream_tiles<T, Tile>(DenseTiles<T, Tile>(operands), memory);
}

/// Two ctas a multiprocessor have the tilings with few rows. With 32 rows of the weight x is read
/// least, and there is L1 cache left for 8 rows of it at K = 4096.
template <int kRows, int kTokens>
struct TilingOf;
template <>
struct TilingOf<8, 8> : StreamTiling<8, 8, 6, 2> {};
template <>
struct TilingOf<16, 8> : StreamTiling<16, 8, 4, 2> {};
template <>
struct TilingOf<32, 8> : StreamTiling<32, 8, 3, 1> {};
template <>
struct TilingOf<8, 16> : StreamTiling<8, 16, 4, 2> {};
template <>
struct TilingOf<16, 16> : StreamTiling<16, 16, 4, 1> {};
template <>
struct TilingOf<32, 16> : StreamTiling<32, 16, 3, 1> {};

/// Calls `work` with the tiling of a form and a number of rows.
template <typename Work>
auto with_tiling(SmallForm form, std::int64_t m, const Work& work) {
  const auto with_tokens = [&](auto rows) {
    constexpr int kRows = decltype(rows)::value;
    return m <= 8 ? work(TilingOf<kRows, 8>{}) : work(TilingOf<kRows, 16>{});
  };
  if (form == SmallForm::rows_8) return with_tokens(std::integral_constant<int, 8>{});
  if (form == SmallForm::rows_16) return with_tokens(std::integral_constant<int, 16>{});
  return with_tokens(std::integral_constant<int, 32>{});
}

}  // namespace

bool takes_small_product(const Gemm::Operands& o, SmallForm form) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  const std::int64_t most_rows = form == SmallForm::dot ? 1 : kMostSmallRows;
  if (form == SmallForm::none || o.dtype == DType::float32 || o.m < 1 || o.m > most_rows ||
      o.n < 1 || o.n > kMost || o.k < 8 || o.k > kMost ||
      (o.y_dtype != o.dtype && o.y_dtype != DType::float32) ||
      vector_width<__half>({o.x, o.weight}, {o.x_stride, o.k}) != 8) {
    return false;
  }
  return form == SmallForm::dot || with_tiling(form, o.m, [](auto tiling) {
           return has_shared_memory(decltype(tiling)::kSharedBytes);
         });
}

SmallForm likely_small_form(const Gemm::Operands& o) {
  // Larger ones are as fast in the library, whose start and end weigh less there.
  constexpr std::int64_t kLargest = std::int64_t{32} << 20;
  if (o.m > 8 || o.n * o.k > kLargest) return SmallForm::none;
  const SmallForm form = o.m == 1      ? SmallForm::dot
                         : o.n <= 2048 ? SmallForm::rows_8
                                       : SmallForm::rows_16;
  return takes_small_product(o, form) ? form : SmallForm::none;
}

void small_product(const Gemm::Operands& o, SmallForm form, Stream stream) {
  TRIREME_CHECK(takes_small_product(o, form), "form=", static_cast<int>(form), " m=", o.m,
                " n=", o.n, " k=", o.k, " dtype=", name_of(o.dtype));
  if (form == SmallForm::dot) return small_product_dot(o, stream);
  with_tiling(form, o.m, [&](auto tiling) {
    using Tile = decltype(tiling);
    const std::int64_t num_tiles = ceil_div(o.n, Tile::kRows);
    if (o.dtype == DType::bfloat16) {
      launch_stream<Tile>(small_product_kernel<__nv_bfloat16, Tile>, num_tiles, stream, o);
    } else {
      launch_stream<Tile>(small_product_kernel<__half, Tile>, num_tiles, stream, o);
    }
  });
  check_launch("small_product");
}

}  // namespace trireme::kernels::cuda
