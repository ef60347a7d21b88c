#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMostDimsOfLane = 8;

/// The sequence that has a token; num_seqs: none.
__device__ std::int64_t sequence_of(const AttentionBatch& batch, std::int64_t token) {
  std::int64_t low = 0, high = batch.num_seqs;  // the first whose end is behind the token
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (batch.q_begin[middle + 1] > token) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low < batch.num_seqs && token >= batch.q_begin[low] ? low : batch.num_seqs;
}

/// A (token, head) a warp: 32 keys at a time, a key a lane for the products with q, dimensions
/// shared out among the lanes for the sum of values.
template <typename T>
__global__ void __launch_bounds__(kWarps * 32) plain_kernel(const Attention a) {
  __shared__ float q_of_warp[kWarps][256];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::int64_t pair = static_cast<std::int64_t>(blockIdx.x) * kWarps + warp;
  const std::int64_t token = pair / a.num_heads, head = pair % a.num_heads;
  if (token >= a.num_tokens) return;
  const std::int64_t seq = sequence_of(a.batch, token);
  if (seq == a.batch.num_seqs) return;
  const KvCache& cache = a.cache;
  const int dim = static_cast<int>(cache.head_dim);
  const std::int64_t kv_head = head / (a.num_heads / cache.num_kv_heads);
  const T* q = static_cast<const T*>(a.q) + token * a.q_stride + head * dim;
  float* own_q = q_of_warp[warp];
  for (int i = lane; i < dim; i += 32) own_q[i] = to_float(q[i]) * a.scale;
  __syncwarp();

  const std::int32_t* blocks = blocks_of(a.batch, seq);
  const auto row_of = [&](int key) -> std::int64_t {
    const std::int64_t block = blocks[key / cache.tokens_per_block];
    return ((block * cache.num_kv_heads + kv_head) * cache.tokens_per_block +
            key % cache.tokens_per_block) *
           dim;
  };
  const int position = a.batch.first_position[seq] + static_cast<int>(token - a.batch.q_begin[seq]);
  float largest = -INFINITY, sum = 0, out[kMostDimsOfLane] = {};
  for (int begin = first_key(a, position); begin <= position; begin += 32) {
    const int key = begin + lane;
    float score = -INFINITY;
    if (key <= position) {
      const T* k = static_cast<const T*>(cache.k) + row_of(key);
      score = 0;
      for (int i = 0; i < dim; ++i) score += own_q[i] * to_float(k[i]);
    }
    const float before = largest;
    largest = fmaxf(largest, warp_max(score));
    const float shrink = expf(before - largest), weight = expf(score - largest);
    sum = sum * shrink + warp_sum(weight);
#pragma unroll
    for (int j = 0; j < kMostDimsOfLane; ++j) out[j] *= shrink;
    const int count = min(32, position + 1 - begin);
    for (int i = 0; i < count; ++i) {
      const float w = __shfl_sync(0xffffffffu, weight, i);
      const T* v = static_cast<const T*>(cache.v) + row_of(begin + i);
#pragma unroll
      for (int j = 0; j < kMostDimsOfLane; ++j) {
        if (lane + 32 * j < dim) out[j] += w * to_float(v[lane + 32 * j]);
      }
    }
  }
  T* to = static_cast<T*>(a.out) + (token * a.num_heads + head) * dim;
#pragma unroll
  for (int j = 0; j < kMostDimsOfLane; ++j) {
    if (lane + 32 * j < dim) to[lane + 32 * j] = from_float<T>(out[j] / sum);
  }
}

}  // namespace

void attention_plain(const Attention& a, Stream stream) {
  const auto ctas = static_cast<unsigned>(ceil_div(a.num_tokens * a.num_heads, kWarps));
  with_float_type(a.cache.dtype, [&](auto zero) {
    plain_kernel<decltype(zero)><<<ctas, kWarps * 32, 0, stream>>>(a);
  });
}

}  // namespace trireme::kernels::cuda
