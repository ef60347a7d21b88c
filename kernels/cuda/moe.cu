#include "kernels/moe.h"

#include <cmath>

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

/// A token a warp; lane l holds the logits of experts l, l + 32, ...
template <int kPerLane>
__global__ void route_kernel(const Routing r) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t token =
      (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (token >= r.num_tokens) return;
  const int num_experts = static_cast<int>(r.num_experts), top_k = static_cast<int>(r.top_k);
  const bool is_valid = r.num_valid == nullptr || token < *r.num_valid;
  const int lane = threadIdx.x % 32;
  float left[kPerLane];
  bool is_taken[kPerLane];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int expert = lane + 32 * j;
    is_taken[j] = expert >= num_experts;
    left[j] = is_taken[j] ? -INFINITY : r.logits[token * num_experts + expert];
    if (isnan(left[j])) left[j] = -INFINITY;
  }
  float largest = 0;
  for (int k = 0; k < top_k; ++k) {
    float best = -INFINITY;
    int best_id = 0x7fffffff;
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      // Ascending ids: an equal logit never replaces one with a lower id.
      if (!is_taken[j] && (best_id == 0x7fffffff || left[j] > best)) {
        best = left[j];
        best_id = lane + 32 * j;
      }
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, best, lanes);
      const int other_id = __shfl_xor_sync(0xffffffffu, best_id, lanes);
      if (other > best || (other == best && other_id < best_id)) {
        best = other;
        best_id = other_id;
      }
    }
    if (k == 0) {
      largest = best;
      if (!r.normalize) {
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) sum += is_taken[j] ? 0.0f : expf(left[j] - largest);
        sum = warp_sum(sum);
      }
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) is_taken[j] |= best_id == lane + 32 * j;
    if (r.normalize) sum += expf(best - largest);
    if (lane == 0) {
      r.ids[token * top_k + k] = best_id;
      r.weights[token * top_k + k] = expf(best - largest);
      if (r.slots != nullptr) {
        const int slot = r.slot_of_expert == nullptr ? best_id : r.slot_of_expert[best_id];
        r.slots[token * top_k + k] = is_valid ? slot : -1;
      }
    }
  }
  __syncwarp();
  for (int k = lane; k < top_k; k += 32) r.weights[token * top_k + k] /= sum;
}

constexpr int kSortWarps = 16;
constexpr int kPairsPerChunk = 2048;
constexpr int kMostSlots = 1024;

constexpr int kStepsOfWarp = kPairsPerChunk / kSortWarps / 32;

/// A warp's part of a chunk: pairs in order, 32 at a time.
struct WarpPairs {
  std::int64_t first;  ///< this lane's in the first step
  int slots[kStepsOfWarp];

  __device__ WarpPairs(const std::int32_t* all_slots, std::int64_t num_pairs)
      : first(static_cast<std::int64_t>(blockIdx.x) * kPairsPerChunk +
              threadIdx.x / 32 * (kStepsOfWarp * 32) + threadIdx.x % 32) {
#pragma unroll
    for (int step = 0; step < kStepsOfWarp; ++step) {
      const std::int64_t pair = first + step * 32;
      slots[step] = pair < num_pairs ? all_slots[pair] : -1;
    }
  }
};

/// How often each slot occurs in each warp's part of the chunk.
__device__ void count_chunk(const WarpPairs& pairs, int num_slots, std::int32_t* counts) {
  for (int i = threadIdx.x; i < kSortWarps * num_slots; i += blockDim.x) counts[i] = 0;
  __syncthreads();
  std::int32_t* own = counts + threadIdx.x / 32 * num_slots;
#pragma unroll
  for (int step = 0; step < kStepsOfWarp; ++step) {
    if (pairs.slots[step] >= 0) atomicAdd(own + pairs.slots[step], 1);
  }
  __syncthreads();
}

/// counts_of_chunk [chunks, num_slots].
__global__ void count_kernel(const std::int32_t* slots, std::int64_t num_pairs, int num_slots,
                             std::int32_t* counts_of_chunk) {
  extern __shared__ std::int32_t counts[];
  start_next_kernel();
  wait_for_earlier_kernels();
  count_chunk(WarpPairs(slots, num_pairs), num_slots, counts);
  for (int slot = threadIdx.x; slot < num_slots; slot += blockDim.x) {
    int sum = 0;
    for (int warp = 0; warp < kSortWarps; ++warp) sum += counts[warp * num_slots + slot];
    counts_of_chunk[static_cast<std::int64_t>(blockIdx.x) * num_slots + slot] = sum;
  }
}

/// Sum of x over the threads before this one, and over all.
__device__ int scan_cta(int x, int* total) {
  __shared__ int of_warp[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = x;
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, sum, lanes);
    if (lane >= lanes) sum += other;
  }
  __syncthreads();
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  int before = 0;
  *total = 0;
  for (int i = 0; i < kSortWarps; ++i) {
    if (i < warp) before += of_warp[i];
    *total += of_warp[i];
  }
  return before + sum - x;
}

/// Places the pairs of a chunk. Every chunk adds up the counts of all by itself; with one chunk
/// there are none to read.
__global__ void place_kernel(const std::int32_t* slots, std::int64_t num_pairs, int num_slots,
                             const std::int32_t* counts_of_chunk, std::int32_t* expert_begin,
                             std::int32_t* pair_at, std::int32_t* place_of_pair) {
  extern __shared__ std::int32_t counts[];
  start_next_kernel();
  wait_for_earlier_kernels();
  const WarpPairs pairs(slots, num_pairs);
  count_chunk(pairs, num_slots, counts);
  int base = 0;
  const int num_counted = gridDim.x > 1 ? static_cast<int>(gridDim.x) : 0;
  for (int first = 0; first < num_slots; first += blockDim.x) {
    const int slot = first + threadIdx.x;
    int before = 0, all = 0;
    if (slot < num_slots) {
#pragma unroll 8
      for (int chunk = 0; chunk < num_counted; ++chunk) {
        const int count = counts_of_chunk[static_cast<std::int64_t>(chunk) * num_slots + slot];
        before += chunk < blockIdx.x ? count : 0;
        all += count;
      }
      for (int warp = 0; gridDim.x == 1 && warp < kSortWarps; ++warp) {
        all += counts[warp * num_slots + slot];
      }
    }
    int total = 0;
    const int begin = base + scan_cta(all, &total);
    base += total;
    if (slot >= num_slots) continue;
    if (blockIdx.x == 0) expert_begin[slot] = begin;
    // From here on the counts are cursors.
    int cursor = begin + before;
    for (int warp = 0; warp < kSortWarps; ++warp) {
      const int count = counts[warp * num_slots + slot];
      counts[warp * num_slots + slot] = cursor;
      cursor += count;
    }
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) expert_begin[num_slots] = base;
  __syncthreads();
  std::int32_t* own = counts + threadIdx.x / 32 * num_slots;
  const unsigned before = (1u << threadIdx.x % 32) - 1;
#pragma unroll
  for (int step = 0; step < kStepsOfWarp; ++step) {
    const std::int64_t pair = pairs.first + step * 32;
    const int slot = pairs.slots[step];
    const unsigned same = __match_any_sync(0xffffffffu, slot);
    const int place = slot >= 0 ? own[slot] + __popc(same & before) : -1;
    __syncwarp();
    if (slot >= 0 && (same & before) == 0) own[slot] += __popc(same);
    __syncwarp();
    if (pair < num_pairs) place_of_pair[pair] = place;
    if (place >= 0) pair_at[place] = static_cast<std::int32_t>(pair);
  }
}

constexpr int kFewPairs = 64;
constexpr int kFewPairsThreads = 256;

/// Few pairs by one cta: a thread counts what stands before its pair, and before its slots.
__global__ void __launch_bounds__(kFewPairsThreads)
    place_few_kernel(const std::int32_t* slots, int num_pairs, int num_slots,
                     std::int32_t* expert_begin, std::int32_t* pair_at,
                     std::int32_t* place_of_pair) {
  start_next_kernel();
  wait_for_earlier_kernels();
  __shared__ unsigned all[kFewPairs];  // -1 is larger than every slot
  const int pair = threadIdx.x;
  if (pair < num_pairs) all[pair] = static_cast<unsigned>(slots[pair]);
  __syncthreads();
  if (pair < num_pairs) {
    const unsigned own = all[pair];
    int place = 0;
    for (int i = 0; i < num_pairs; ++i) place += all[i] < own || (all[i] == own && i < pair);
    const bool is_placed = static_cast<std::int32_t>(own) >= 0;
    place_of_pair[pair] = is_placed ? place : -1;
    if (is_placed) pair_at[place] = pair;
  }
  for (int slot = threadIdx.x; slot <= num_slots; slot += kFewPairsThreads) {
    int begin = 0;
    for (int i = 0; i < num_pairs; ++i) begin += all[i] < static_cast<unsigned>(slot);
    expert_begin[slot] = begin;
  }
}

template <typename T, int N>
__global__ void gather_kernel(const T* x, std::int64_t x_stride, const std::int32_t* pair_at,
                              unsigned top_k, const std::int32_t* num_placed, std::int64_t size,
                              T* y) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t place = blockIdx.x;
  if (place >= *num_placed) return;
  const T* from = x + static_cast<unsigned>(pair_at[place]) / top_k * x_stride;
  for (std::int64_t i = threadIdx.x * N; i < size; i += blockDim.x * N) {
    store_pack<T, N>(y + place * size + i, load_pack<T, N>(from + i));
  }
}

/// A thread N elements of a token. Places and weights are settled: products are between them and
/// this.
template <typename T, int N>
__global__ void combine_kernel(const T* pairs, const std::int32_t* place_of_pair,
                               const float* weights, int top_k, std::int64_t size, T* y) {
  start_next_kernel();
  const std::int64_t token = blockIdx.x;
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  constexpr int kInFlight = 8;
  std::int32_t place[kInFlight];
  float weight[kInFlight], sum[N] = {};
  const auto load_places = [&](int first) {
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      const std::int64_t pair = token * top_k + first + k;
      const bool is_there = first + k < top_k;
      place[k] = is_there ? __ldcg(place_of_pair + pair) : -1;
      weight[k] = is_there ? __ldcg(weights + pair) : 0.0f;
    }
  };
  load_places(0);
  wait_for_earlier_kernels();
  if (i >= size) return;
  for (int first = 0; first < top_k; first += kInFlight) {
    if (first > 0) load_places(first);
    // All loads before the sums, which are taken in order.
    Pack<T, N> packs[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      packs[k] = {};
      if (place[k] >= 0) {
        packs[k] = load_pack<T, N>(pairs + place[k] * size + i);
      } else {
        weight[k] = 0;
      }
    }
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] += weight[k] * to_float(packs[k].at[j]);
    }
  }
  Pack<T, N> result;
#pragma unroll
  for (int j = 0; j < N; ++j) result.at[j] = from_float<T>(sum[j]);
  store_pack<T, N>(y + token * size + i, result);
}

}  // namespace

void route_softmax(const Routing& r, Stream stream) {
  TRIREME_CHECK(r.num_experts <= 1024 && r.top_k >= 1 && r.top_k <= r.num_experts,
                "num_experts=", r.num_experts, " top_k=", r.top_k);
  if (r.num_tokens == 0) return;
  const auto launch = [&](auto kernel) {
    launch_overlapped(kernel, {static_cast<unsigned>(ceil_div(r.num_tokens, 4)), 128}, stream, r);
  };
  if (r.num_experts <= 32) {
    launch(route_kernel<1>);
  } else if (r.num_experts <= 128) {
    launch(route_kernel<4>);
  } else if (r.num_experts <= 256) {
    launch(route_kernel<8>);
  } else {
    launch(route_kernel<32>);
  }
  check_launch("route_softmax");
}

std::int64_t sort_workspace_size(std::int64_t num_pairs, std::int64_t num_slots) {
  return ceil_div(num_pairs, kPairsPerChunk) * num_slots;
}

void sort_by_expert(const std::int32_t* slots, std::int64_t num_pairs, std::int64_t num_slots,
                    std::int32_t* expert_begin, std::int32_t* pair_at, std::int32_t* place_of_pair,
                    std::int32_t* workspace, Stream stream) {
  TRIREME_CHECK(num_slots >= 1 && num_slots <= kMostSlots, "num_slots=", num_slots);
  if (num_pairs <= kFewPairs) {
    launch_overlapped(place_few_kernel, {1, kFewPairsThreads}, stream, slots,
                      static_cast<int>(num_pairs), static_cast<int>(num_slots), expert_begin,
                      pair_at, place_of_pair);
    return check_launch("sort_by_expert");
  }
  const auto chunks = static_cast<unsigned>(ceil_div(num_pairs, kPairsPerChunk));
  const auto slot_count = static_cast<int>(num_slots);
  const std::size_t shared =
      sizeof(std::int32_t) * kSortWarps * static_cast<std::size_t>(num_slots);
  if (shared > 48 * 1024) {
    const auto bytes = static_cast<int>(shared);
    cudaFuncSetAttribute(count_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    cudaFuncSetAttribute(place_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  }
  const LaunchShape shape{chunks, kSortWarps * 32, shared};
  if (chunks > 1) {
    launch_overlapped(count_kernel, shape, stream, slots, num_pairs, slot_count, workspace);
  }
  launch_overlapped(place_kernel, shape, stream, slots, num_pairs, slot_count, workspace,
                    expert_begin, pair_at, place_of_pair);
  check_launch("sort_by_expert");
}

void gather_rows(const void* x, std::int64_t x_stride, const std::int32_t* pair_at,
                 std::int64_t top_k, const std::int32_t* num_placed, std::int64_t num_rows,
                 std::int64_t size, void* y, DType dtype, Stream stream) {
  if (num_rows == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWide = 16 / sizeof(T);
    const bool is_wide = vector_width<T>({x, y}, {x_stride, size}) == kWide;
    const auto kernel = is_wide ? gather_kernel<T, kWide> : gather_kernel<T, 1>;
    launch_overlapped(
        kernel, {static_cast<unsigned>(num_rows), threads_for(is_wide ? size / kWide : size, 256)},
        stream, static_cast<const T*>(x), x_stride, pair_at, static_cast<unsigned>(top_k),
        num_placed, size, static_cast<T*>(y));
  });
  check_launch("gather_rows");
}

void combine(const void* pairs, const std::int32_t* place_of_pair, const float* weights,
             std::int64_t num_tokens, std::int64_t top_k, std::int64_t size, void* y, DType dtype,
             Stream stream) {
  if (num_tokens == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWide = 16 / sizeof(T);
    const bool is_wide = vector_width<T>({pairs, y}, {size}) == kWide;
    const auto kernel = is_wide ? combine_kernel<T, kWide> : combine_kernel<T, 1>;
    const std::int64_t packs = is_wide ? size / kWide : size;
    const unsigned threads = threads_for(packs, 256);
    const dim3 grid(static_cast<unsigned>(num_tokens),
                    static_cast<unsigned>(ceil_div(packs, threads)));
    launch_overlapped(kernel, {grid, threads}, stream, static_cast<const T*>(pairs), place_of_pair,
                      weights, static_cast<int>(top_k), size, static_cast<T*>(y));
  });
  check_launch("combine");
}

}  // namespace trireme::kernels::cuda
