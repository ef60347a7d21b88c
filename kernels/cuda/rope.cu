#include "kernels/rope.h"

#include "kernels/cuda/detail/kv_slot.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"
#include "kernels/norm.h"

namespace trireme::kernels::cuda {
namespace {

/// A head a warp, in place.
template <typename T>
__global__ void rope_kernel(T* x, std::int64_t x_stride, const std::int32_t* positions,
                            const float* cos_sin, std::int64_t num_pairs, std::int64_t num_heads,
                            std::int64_t head_dim, std::int64_t rotary_dim) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t pair = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (pair >= num_pairs) return;
  const std::int64_t token = pair / num_heads, half = rotary_dim / 2;
  T* at = x + token * x_stride + pair % num_heads * head_dim;
  const float* row = cos_sin + positions[token] * rotary_dim;
  for (std::int64_t i = threadIdx.x % 32; i < half; i += 32) {
    const float a = to_float(at[i]), b = to_float(at[i + half]);
    at[i] = from_float<T>(a * row[i] - b * row[i + half]);
    at[i + half] = from_float<T>(b * row[i] + a * row[i + half]);
  }
}

/// What one warp has of a head: N neighbouring elements a lane; the other half is 16 lanes away.
template <int N>
struct LaneTables {
  float cosine[N], sine[N], q_norm[N], k_norm[N];
};

template <int N>
__device__ LaneTables<N> load_tables(const NormRopeAppend& a, const float* row, int lane) {
  LaneTables<N> tables;
  const int half = N * 16, i = lane * N % half;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    tables.cosine[j] = row[i + j];
    tables.sine[j] = lane < 16 ? -row[half + i + j] : row[half + i + j];
    tables.q_norm[j] = a.q_norm != nullptr ? a.q_norm[lane * N + j] : 1.0f;
    tables.k_norm[j] = a.k_norm != nullptr ? a.k_norm[lane * N + j] : 1.0f;
  }
  return tables;
}

template <typename T, int N>
__device__ Pack<T, N> norm_and_rotate(const Pack<T, N>& pack, const LaneTables<N>& tables,
                                      const float* norm, bool has_norm, float eps) {
  float x[N], sum = 0;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    x[j] = to_float(pack.at[j]);
    sum += x[j] * x[j];
  }
  if (has_norm) {
    const float factor = rsqrtf(warp_sum(sum) / (N * 32) + eps);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= factor * norm[j];
  }
  Pack<T, N> result;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float other = __shfl_xor_sync(0xffffffffu, x[j], 16);
    result.at[j] = from_float<T>(x[j] * tables.cosine[j] + other * tables.sine[j]);
  }
  return result;
}

constexpr int kHeadsInFlight = 4;
constexpr int kWarps = 4;

/// Heads of one token a cta; a warp takes every kWarps-th head, kHeadsInFlight of them loaded at
/// once. rotary_dim is head_dim, 32 · N. Positions and slots are settled: a product is between them
/// and this.
template <typename T, int N>
__global__ void __launch_bounds__(kWarps * 32) norm_rope_append_kernel(const NormRopeAppend a) {
  start_next_kernel();
  const std::int64_t token = blockIdx.x;
  const int lane = threadIdx.x % 32, head_dim = 32 * N;
  const int num_heads = static_cast<int>(a.num_heads), kv = static_cast<int>(a.cache.num_kv_heads);
  const int all_heads = num_heads + 2 * kv;
  T* row = static_cast<T*>(a.qkv) + token * a.row_stride + lane * N;
  const std::int64_t slot = __ldcg(a.slot_mapping + token);
  const std::int64_t position = __ldcg(a.positions + token);
  const LaneTables<N> tables = load_tables<N>(a, a.cos_sin + position * head_dim, lane);
  const bool has_norm = a.q_norm != nullptr;

  wait_for_earlier_kernels();
  const int stride = kWarps * gridDim.y;
  for (int begin = threadIdx.x / 32 + kWarps * blockIdx.y; begin < all_heads;
       begin += stride * kHeadsInFlight) {
    Pack<T, N> packs[kHeadsInFlight];
#pragma unroll
    for (int j = 0; j < kHeadsInFlight; ++j) {
      const int head = begin + j * stride;
      if (head < all_heads) packs[j] = load_pack<T, N>(row + head * head_dim);
    }
#pragma unroll
    for (int j = 0; j < kHeadsInFlight; ++j) {
      const int head = begin + j * stride;
      if (head >= all_heads) break;
      if (head < num_heads) {
        store_pack<T, N>(row + head * head_dim,
                         norm_and_rotate<T, N>(packs[j], tables, tables.q_norm, has_norm, a.eps));
        continue;
      }
      const bool is_key = head < num_heads + kv;
      if (is_key) {
        packs[j] = norm_and_rotate<T, N>(packs[j], tables, tables.k_norm, has_norm, a.eps);
      }
      if (slot < 0) continue;
      const int kv_head = head - num_heads - (is_key ? 0 : kv);
      T* to = static_cast<T*>(is_key ? a.cache.k : a.cache.v) + slot_offset(a.cache, slot, kv_head);
      store_pack<T, N>(to + lane * N, packs[j]);
    }
  }
}

bool fits_fused(const NormRopeAppend& a) {
  const std::int64_t dim = a.cache.head_dim;
  return a.rotary_dim == dim && (dim == 64 || dim == 128 || dim == 256) &&
         (a.q_norm == nullptr) == (a.k_norm == nullptr) &&
         reinterpret_cast<std::uintptr_t>(a.qkv) % 32 == 0 && a.row_stride % 8 == 0;
}

template <typename T>
void launch_fused(const NormRopeAppend& a, Stream stream) {
  const std::int64_t all_heads = a.num_heads + 2 * a.cache.num_kv_heads;
  // Few tokens: their heads are spread over several ctas, or the chip is empty.
  const std::int64_t heads_of_warp = a.num_tokens >= 512  ? all_heads
                                     : a.num_tokens >= 64 ? kHeadsInFlight
                                                          : 1;
  const auto parts = static_cast<unsigned>(ceil_div(all_heads, kWarps * heads_of_warp));
  const LaunchShape shape{dim3(static_cast<unsigned>(a.num_tokens), parts), kWarps * 32};
  switch (a.cache.head_dim) {
    case 64:
      return launch_overlapped(norm_rope_append_kernel<T, 2>, shape, stream, a);
    case 128:
      return launch_overlapped(norm_rope_append_kernel<T, 4>, shape, stream, a);
    default:
      return launch_overlapped(norm_rope_append_kernel<T, 8>, shape, stream, a);
  }
}

/// Other shapes step by step.
void norm_rope_append_plain(const NormRopeAppend& a, Stream stream) {
  const KvCache& cache = a.cache;
  const std::size_t element = size_of(cache.dtype);
  auto* q = static_cast<std::byte*>(a.qkv);
  auto* k = q + static_cast<std::size_t>(a.num_heads * cache.head_dim) * element;
  auto* v = k + static_cast<std::size_t>(cache.num_kv_heads * cache.head_dim) * element;
  const auto prepare = [&](void* x, std::int64_t heads, const float* norm) {
    if (norm != nullptr) {
      rms_norm_heads(x, a.row_stride, norm, a.eps, a.num_tokens, heads, cache.head_dim, cache.dtype,
                     stream);
    }
    rope(x, a.row_stride, a.positions, a.cos_sin, a.num_tokens, heads, cache.head_dim, a.rotary_dim,
         cache.dtype, stream);
  };
  prepare(q, a.num_heads, a.q_norm);
  prepare(k, cache.num_kv_heads, a.k_norm);
  append_kv(k, v, a.row_stride, a.slot_mapping, a.num_tokens, cache, stream);
}

}  // namespace

void rope(void* x, std::int64_t x_stride, const std::int32_t* positions, const float* cos_sin,
          std::int64_t num_tokens, std::int64_t num_heads, std::int64_t head_dim,
          std::int64_t rotary_dim, DType dtype, Stream stream) {
  const std::int64_t num_pairs = num_tokens * num_heads;
  if (num_pairs == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_overlapped(rope_kernel<T>, {static_cast<unsigned>(ceil_div(num_pairs, 8)), 256}, stream,
                      static_cast<T*>(x), x_stride, positions, cos_sin, num_pairs, num_heads,
                      head_dim, rotary_dim);
  });
  check_launch("rope");
}

void norm_rope_append(const NormRopeAppend& arguments, Stream stream) {
  if (arguments.num_tokens == 0) return;
  if (!fits_fused(arguments)) return norm_rope_append_plain(arguments, stream);
  with_float_type(arguments.cache.dtype,
                  [&](auto zero) { launch_fused<decltype(zero)>(arguments, stream); });
  check_launch("norm_rope_append");
}

}  // namespace trireme::kernels::cuda
