#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/silu.cuh"
#include "kernels/cuda/detail/small_product.h"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRowsOfWarp = 2;
constexpr int kInFlight = 4;          ///< 16-byte loads of a row and lane
constexpr int kDepthOfLoad = 32 * 8;  ///< elements of K that a warp loads at once

/// 16 bytes that are read once and kept out of the L1 cache; zeros where nothing is. Not as
/// read-only data: such loads the compiler moves behind a wait.
__device__ uint4 load_streaming(const void* from, bool is_there) {
  uint4 x;
  asm volatile(
      "{.reg .pred p; setp.ne.s32 p, %5, 0; "
      "mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; mov.u32 %3, 0; "
      "@p ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];}"
      : "=&r"(x.x), "=&r"(x.y), "=&r"(x.z), "=&r"(x.w)
      : "l"(from), "r"(static_cast<int>(is_there))
      : "memory");
  return x;
}

/// sum += the products of eight elements, in order.
template <typename T>
__device__ void add_products(float& sum, const uint4& w, const uint4& x) {
  const Pack<T, 8> ws = *reinterpret_cast<const Pack<T, 8>*>(&w);
  const Pack<T, 8> xs = *reinterpret_cast<const Pack<T, 8>*>(&x);
#pragma unroll
  for (int i = 0; i < 8; ++i) sum = fmaf(to_float(ws.at[i]), to_float(xs.at[i]), sum);
}

template <typename T>
__device__ void store(const Gemm::Operands& o, std::int64_t column, float sum) {
  if (o.bias != nullptr) sum += o.bias[column];
  if (o.y_dtype == DType::float32) {
    static_cast<float*>(o.y)[column] = sum;
  } else {
    static_cast<T*>(o.y)[column] = from_float<T>(sum);
  }
}

/// A warp computes two columns of the only row, or a gate and its up; its lanes take turns along K.
template <typename T, bool kHasSilu>
__global__ void __launch_bounds__(kThreads, 3)
    dot_kernel(const __grid_constant__ Gemm::Operands o) {
  const int lane = threadIdx.x % 32, k = static_cast<int>(o.k);
  const std::int64_t warp =
      static_cast<std::int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  const std::int64_t column = kHasSilu ? warp : warp * kRowsOfWarp;
  const std::int64_t to_second = kHasSilu ? o.n / 2 : 1;
  if (column >= (kHasSilu ? o.n / 2 : o.n)) return;
  const bool has_second = column + to_second < o.n;
  const T* x = static_cast<const T*>(o.x);
  const T* w[kRowsOfWarp];
  w[0] = static_cast<const T*>(o.weight) + column * o.k;
  w[1] = has_second ? w[0] + to_second * o.k : w[0];
  float sums[kRowsOfWarp] = {};
  uint4 of_w[kRowsOfWarp][kInFlight];
  const auto load_weights = [&](int begin) {
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const int at = begin + i * kDepthOfLoad;
#pragma unroll
      for (int row = 0; row < kRowsOfWarp; ++row) {
        of_w[row][i] = load_streaming(w[row] + at, at < k);
      }
    }
  };
  constexpr int kStep = kInFlight * kDepthOfLoad;
  int begin = lane * 8;
  load_weights(begin);
  wait_for_earlier_kernels();
  while (true) {
    if (begin + kStep >= k) start_next_kernel();
    uint4 of_x[kInFlight];
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const int at = begin + i * kDepthOfLoad;
      of_x[i] = at < k ? *reinterpret_cast<const uint4*>(x + at) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
#pragma unroll
      for (int row = 0; row < kRowsOfWarp; ++row) {
        add_products<T>(sums[row], of_w[row][i], of_x[i]);
      }
    }
    begin += kStep;
    if (begin >= k) break;
    load_weights(begin);
  }
  // Lanes may have a part less of K; all meet in the sum.
  __syncwarp();
#pragma unroll
  for (int row = 0; row < kRowsOfWarp; ++row) sums[row] = warp_sum(sums[row]);
  if constexpr (kHasSilu) {
    if (lane == 0) store<T>(o, column, silu_times(sums[0], sums[1]));
    return;
  }
  if (lane == 0) store<T>(o, column, sums[0]);
  if (lane == 1 && has_second) store<T>(o, column + 1, sums[1]);
}

template <typename T>
void launch(const Gemm::Operands& o, Stream stream) {
  const auto ctas = static_cast<unsigned>(ceil_div(o.n, kThreads / 32 * kRowsOfWarp));
  const auto kernel = o.gate_up != nullptr ? dot_kernel<T, true> : dot_kernel<T, false>;
  launch_overlapped(kernel, {ctas, kThreads}, stream, o);
}

}  // namespace

void small_product_dot(const Gemm::Operands& o, Stream stream) {
  if (o.dtype == DType::bfloat16) {
    launch<__nv_bfloat16>(o, stream);
  } else {
    launch<__half>(o, stream);
  }
  check_launch("small_product_dot");
}

}  // namespace trireme::kernels::cuda
