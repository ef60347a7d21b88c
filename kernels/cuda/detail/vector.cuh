#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

/// Vectors of elements that are loaded and stored in one access, and sums over warps and ctas.
namespace trireme::kernels::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

template <typename T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

/// N neighbouring elements.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

template <typename T, int N>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <typename T, int N>
__device__ inline void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
  }
  return x;
}

/// The sum over all threads of a cta of whole warps, in every thread; called once per kernel.
__device__ inline float cta_sum(float x) {
  __shared__ float of_warp[32];
  x = warp_sum(x);
  const int lane = threadIdx.x % 32, num_warps = blockDim.x / 32;
  if (lane == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  return warp_sum(lane < num_warps ? of_warp[lane] : 0.0f);
}

}  // namespace trireme::kernels::cuda
