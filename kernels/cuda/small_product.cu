#include "kernels/cuda/detail/small_product.h"

#include "kernels/cuda/detail/silu.cuh"
#include "kernels/cuda/detail/stream_launch.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/cuda/detail/weight_stream.cuh"

namespace trireme::kernels::cuda {
namespace {

/// Tiles of Tile::kRows weight rows, or with silu_and_mul of half as many gates and their ups.
template <typename T, typename Tile, bool kHasSilu>
struct DenseTiles {
  static constexpr int kColumns = kHasSilu ? Tile::kRows / 2 : Tile::kRows;  ///< of y
  const Gemm::Operands& o;
  int k;

  __device__ explicit DenseTiles(const Gemm::Operands& operands)
      : o(operands), k(static_cast<int>(operands.k)) {}
  __device__ int num_tiles() const {
    return static_cast<int>((columns_of_y() + kColumns - 1) / kColumns);
  }
  __device__ std::int64_t columns_of_y() const { return kHasSilu ? o.n / 2 : o.n; }
  __device__ WeightTile<T> weight_tile(int tile) const {
    constexpr int kHalf = Tile::kRows / 2;
    const std::int64_t column = static_cast<std::int64_t>(tile) * kColumns;
    const T* first = static_cast<const T*>(o.weight) + column * o.k;
    const int left = static_cast<int>(columns_of_y() - column);
    if constexpr (kHasSilu) return {{first, first + o.n / 2 * o.k}, {left, left}};
    return {{first, first + kHalf * o.k}, {left, left - kHalf}};
  }
  __device__ const T* x_row(int, int token) const {
    return token < o.m ? static_cast<const T*>(o.x) + token * o.x_stride : nullptr;
  }
  __device__ void store(int tile, const TileSums<Tile>& sums) const {
    const std::int64_t first = static_cast<std::int64_t>(tile) * kColumns;
    const int num_sums = static_cast<int>(o.m) * kColumns;
    for (int i = threadIdx.x; i < num_sums; i += Tile::kThreads) {
      const int token = i / kColumns, row = i % kColumns;
      const std::int64_t column = first + row;
      if (column >= columns_of_y()) continue;
      float sum = sums(token, row);
      if constexpr (kHasSilu) sum = silu_times(sum, sums(token, kColumns + row));
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

template <typename T, typename Tile, bool kHasSilu>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kCtas)
    small_product_kernel(const __grid_constant__ Gemm::Operands operands) {
  extern __shared__ __align__(128) unsigned char memory[];
  stream_tiles<T, Tile>(DenseTiles<T, Tile, kHasSilu>(operands), memory);
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
auto with_tiling(ProductForm form, std::int64_t m, const Work& work) {
  const auto with_tokens = [&](auto rows) {
    constexpr int kRows = decltype(rows)::value;
    return m <= 8 ? work(TilingOf<kRows, 8>{}) : work(TilingOf<kRows, 16>{});
  };
  if (form == ProductForm::rows_8) return with_tokens(std::integral_constant<int, 8>{});
  if (form == ProductForm::rows_16) return with_tokens(std::integral_constant<int, 16>{});
  return with_tokens(std::integral_constant<int, 32>{});
}

template <typename T, typename Tile>
void launch(const Gemm::Operands& o, Stream stream) {
  const std::int64_t num_tiles = ceil_div(o.n, Tile::kRows);  // with silu_and_mul as many
  if (o.gate_up != nullptr) {
    launch_stream<Tile>(small_product_kernel<T, Tile, true>, num_tiles, stream, o);
  } else {
    launch_stream<Tile>(small_product_kernel<T, Tile, false>, num_tiles, stream, o);
  }
}

}  // namespace

bool takes_small_product(const Gemm::Operands& o, ProductForm form) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  const std::int64_t most_rows = form == ProductForm::dot ? 1 : kMostSmallRows;
  if (form == ProductForm::library || form == ProductForm::tiles || o.dtype == DType::float32 ||
      o.m < 1 || o.m > most_rows || o.n < 1 || o.n > kMost || o.k < 8 || o.k > kMost ||
      (o.y_dtype != o.dtype && o.y_dtype != DType::float32) ||
      (o.gate_up != nullptr && (o.n % 2 != 0 || o.bias != nullptr)) ||
      vector_width<__half>({o.x, o.weight}, {o.x_stride, o.k}) != 8) {
    return false;
  }
  return form == ProductForm::dot || with_tiling(form, o.m, [](auto tiling) {
           return has_shared_memory(decltype(tiling)::kSharedBytes);
         });
}

ProductForm likely_small_form(const Gemm::Operands& o) {
  // Larger ones are as fast in the library, whose start and end weigh less there.
  constexpr std::int64_t kLargest = std::int64_t{32} << 20;
  if (o.m > 8 || o.n * o.k > kLargest) return ProductForm::library;
  const ProductForm form = o.m == 1      ? ProductForm::dot
                           : o.n <= 2048 ? ProductForm::rows_8
                                         : ProductForm::rows_16;
  return takes_small_product(o, form) ? form : ProductForm::library;
}

void small_product(const Gemm::Operands& o, ProductForm form, Stream stream) {
  TRIREME_CHECK(takes_small_product(o, form), "form=", static_cast<int>(form), " m=", o.m,
                " n=", o.n, " k=", o.k, " dtype=", name_of(o.dtype));
  if (form == ProductForm::dot) return small_product_dot(o, stream);
  with_tiling(form, o.m, [&](auto tiling) {
    using Tile = decltype(tiling);
    if (o.dtype == DType::bfloat16) return launch<__nv_bfloat16, Tile>(o, stream);
    launch<__half, Tile>(o, stream);
  });
  check_launch("small_product");
}

}  // namespace trireme::kernels::cuda
