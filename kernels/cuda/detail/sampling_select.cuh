#pragma once

#include "kernels/cuda/detail/sampling_row.cuh"

/// Selection of a row's first ids in the order of all sorting: value descending, NaN below all, id
/// ascending. One cta of kSelectThreads works on a row.
namespace trireme::kernels::cuda {

constexpr int kSelectThreads = 512;
/// Places that a cta can list and sort.
constexpr int kMostListed = 4096;

/// A place in the order as one word, first the largest: 11 bits of the distance from the largest
/// value, which spread the ids well, 32 of the value itself, 21 of the id. Never 0.
using Place = unsigned long long;
constexpr int kIdBits = 21, kKeyBits = 32, kDigitBits = 11;
constexpr int kDistanceShift = kIdBits + kKeyBits;
constexpr int kMostId = (1 << kIdBits) - 1;
static_assert(kDistanceShift + kDigitBits == 64 && kMostSampledIds < kMostId);

struct Order {
  float temperature;
  float largest;  ///< logit / temperature

  __device__ float value(float logit) const { return scaled(logit, temperature); }
  /// Ascends with the value; 0 for all that is far away.
  __device__ unsigned nearness(float value) const {
    constexpr float kMost = (1 << kDigitBits) - 1;
    if (value == largest) return static_cast<unsigned>(kMost);
    // fminf also turns NaN into the largest distance.
    const float distance = fminf((largest - value) * (64 * temperature), kMost);
    return static_cast<unsigned>(kMost) - static_cast<unsigned>(distance);
  }
  __device__ Place place(float logit, int id) const {
    const float own = value(logit);
    return static_cast<Place>(nearness(own)) << kDistanceShift |
           static_cast<Place>(key_of(own)) << kIdBits | static_cast<unsigned>(kMostId - id);
  }
};
__device__ inline float value_at(Place place) {
  return value_of(static_cast<unsigned>(place >> kIdBits));
}
__device__ inline int id_at(Place place) {
  return kMostId - static_cast<int>(static_cast<unsigned>(place) & kMostId);
}

/// Shared memory of a selection.
struct SelectMemory {
  static constexpr int kNumBins = 1 << kDigitBits;
  union {
    Place list[kMostListed];
    unsigned bins[3][kNumBins];
  };
  int num_listed;
  unsigned crossing_bin;
  unsigned long long before_crossing;
};

/// Sum of x over the threads before this one; `total`: over all. Always in the same order.
template <typename T>
__device__ T cta_scan(T x, T* total) {
  __shared__ T of_warp[kSelectThreads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  T sum = x;
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const T other = __shfl_up_sync(kWholeWarp, sum, lanes);
    if (lane >= lanes) sum += other;
  }
  T before = __shfl_up_sync(kWholeWarp, sum, 1);
  if (lane == 0) before = 0;
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  T warps_before = 0, all = 0;
  for (int i = 0; i < kSelectThreads / 32; ++i) {
    if (i == warp) warps_before = all;
    all += of_warp[i];
  }
  __syncthreads();
  *total = all;
  return warps_before + before;
}

/// Bins that count.
struct Counts {
  static __device__ void add(SelectMemory& memory, unsigned bin, float) {
    atomicAdd(&memory.bins[0][bin], 1u);
  }
  static __device__ unsigned long long at(const SelectMemory& memory, unsigned bin) {
    return memory.bins[0][bin];
  }
};

/// Bins that add up exp(value − largest) in fixed point, so that the order does not matter: three
/// words of 13 bits each, which kMostSampledIds terms do not overflow.
struct Masses {
  static constexpr int kBits = 13;
  static __device__ unsigned long long fixed(float weight) {
    return __float2ull_rn(weight * 0x1p38f);
  }
  static __device__ void add(SelectMemory& memory, unsigned bin, float weight) {
    unsigned long long left = fixed(weight);
#pragma unroll
    for (int word = 0; word < 3; ++word) {
      const auto bits = static_cast<unsigned>(left) & ((1u << kBits) - 1);
      if (bits != 0) atomicAdd(&memory.bins[word][bin], bits);
      left >>= kBits;
    }
  }
  static __device__ unsigned long long at(const SelectMemory& memory, unsigned bin) {
    unsigned long long sum = 0;
#pragma unroll
    for (int word = 2; word >= 0; --word) sum = (sum << kBits) + memory.bins[word][bin];
    return sum;
  }
  static_assert(kMostSampledIds <= std::int64_t{1} << (32 - kBits));
};

/// exp(value − largest); 0 for NaN.
__device__ inline float weight_of(float value, float largest) {
  return value > -INFINITY ? exp_below(value, largest) : 0.0f;
}

__device__ inline void clear_bins(SelectMemory& memory) {
  for (int i = static_cast<int>(threadIdx.x); i < 3 * SelectMemory::kNumBins; i += kSelectThreads) {
    (&memory.bins[0][0])[i] = 0;
  }
  __syncthreads();
}

/// The bin at which the sum from the highest bin down, with `before`, reaches `target`; 0 if none
/// does. before_crossing: the sum above it.
template <typename Bins>
__device__ void find_crossing(SelectMemory& memory, unsigned long long before, double target) {
  constexpr int kPerThread = SelectMemory::kNumBins / kSelectThreads;
  if (threadIdx.x == 0) {
    memory.crossing_bin = 0;
    memory.before_crossing = before;
  }
  const unsigned highest = SelectMemory::kNumBins - 1 - threadIdx.x * kPerThread;
  unsigned long long own = 0, total = 0;
  for (unsigned i = 0; i < kPerThread; ++i) own += Bins::at(memory, highest - i);
  unsigned long long reached = before + cta_scan(own, &total);
  for (unsigned i = 0; i < kPerThread; ++i) {
    const unsigned long long amount = Bins::at(memory, highest - i);
    const bool was_reached = reached > before && static_cast<double>(reached) >= target;
    if (amount > 0 && !was_reached && static_cast<double>(reached + amount) >= target) {
      memory.crossing_bin = highest - i;
      memory.before_crossing = reached;
    }
    reached += amount;
  }
  __syncthreads();
}

/// Calls visit(logit, id) for the ids of a row, each by one thread.
template <typename Visit>
__device__ void for_each_id(const RowLogits& logits, const Visit& visit) {
  constexpr int kAtOnce = 4;
  const int num_quads = logits.num_quads();
  for (int first = static_cast<int>(threadIdx.x); first < num_quads;
       first += kAtOnce * kSelectThreads) {
    Quad quads[kAtOnce];
    logits.load(first, kSelectThreads, quads);
#pragma unroll
    for (int i = 0; i < 4 * kAtOnce; ++i) {
      const int id = 4 * (first + i / 4 * kSelectThreads) + i % 4;
      if (id < logits.vocab_size) visit(quads[i / 4].at[i % 4], id);
    }
  }
}

/// Calls visit(largest logit, first quad) for the groups of ids of a row whose largest the scan has
/// left.
template <typename Visit>
__device__ void for_each_group(const RowWorkspace& workspace, const Visit& visit) {
  constexpr int kAtOnce = 8;
  const float* maxima = workspace.maxima();
  const int num_groups = workspace.num_parts * kScanThreads;
  for (int first = static_cast<int>(threadIdx.x); first < num_groups;
       first += kAtOnce * kSelectThreads) {
    float largest[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int group = first + i * kSelectThreads;
      largest[i] = group < num_groups ? maxima[group] : 0;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int group = first + i * kSelectThreads;
      if (group >= num_groups) break;
      visit(largest[i], group / kScanThreads * kQuadsPerPart + group % kScanThreads);
    }
  }
}

/// The last of the first places, down to `floor`, whose counts or masses reach `target`: a pass
/// over the row for each digit.
template <typename Bins>
__device__ Place last_place(const RowLogits& logits, const Order& order, Place floor, double target,
                            SelectMemory& memory) {
  Place prefix = 0;
  unsigned long long before = 0;
  for (int above = 64; above > 0;) {
    const int shift = above > kDigitBits ? above - kDigitBits : 0;
    const unsigned mask = (1u << (above - shift)) - 1;
    clear_bins(memory);
    for_each_id(logits, [&](float logit, int id) {
      const Place place = order.place(logit, id);
      if (place < floor || (above < 64 && place >> above != prefix)) return;
      Bins::add(memory, static_cast<unsigned>(place >> shift) & mask,
                weight_of(order.value(logit), order.largest));
    });
    __syncthreads();
    find_crossing<Bins>(memory, before, target);
    prefix = prefix << (above - shift) | memory.crossing_bin;
    before = memory.before_crossing;
    above = shift;
    __syncthreads();
  }
  return prefix;
}

/// Sorts the list, largest first.
__device__ inline void sort_list(SelectMemory& memory) {
  int size = 2;
  while (size < memory.num_listed) size *= 2;
  const auto thread = static_cast<int>(threadIdx.x);
  for (int i = memory.num_listed + thread; i < size; i += kSelectThreads) memory.list[i] = 0;
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int stride = run / 2; stride > 0; stride /= 2) {
      for (int pair = thread; pair < size / 2; pair += kSelectThreads) {
        const int low = 2 * pair - (pair & (stride - 1)), high = low + stride;
        const Place a = memory.list[low], b = memory.list[high];
        if ((a < b) == ((low & run) == 0)) {
          memory.list[low] = b;
          memory.list[high] = a;
        }
      }
      __syncthreads();
    }
  }
}

__device__ inline void list(SelectMemory& memory, Place place) {
  const int at = atomicAdd(&memory.num_listed, 1);
  if (at < kMostListed) memory.list[at] = place;
}

/// Lists a row's first places, sorted: at least `count` of them, which is at most the row's ids and
/// kMostListed. The count-th largest of the groups' largest is a bound that so many reach and few
/// more, so that of the row only the groups that reach it are read.
__device__ inline void list_first(const RowLogits& logits, const Order& order,
                                  const RowWorkspace& workspace, int count, SelectMemory& memory) {
  const auto thread = static_cast<int>(threadIdx.x);
  clear_bins(memory);
  for_each_group(workspace, [&](float largest, int) {
    if (largest > -INFINITY) Counts::add(memory, order.nearness(order.value(largest)), 0);
  });
  __syncthreads();
  find_crossing<Counts>(memory, 0, count);
  // What is in bin 0 has no bound, and may be NaN.
  const unsigned bound = memory.crossing_bin;
  const Place floor = static_cast<Place>(bound) << kDistanceShift;
  if (thread == 0) memory.num_listed = 0;
  __syncthreads();
  for_each_group(workspace, [&](float largest, int first_quad) {
    if (bound > 0 && order.nearness(order.value(largest)) < bound) return;
    Quad quads[kQuadsPerThread];
    logits.load(first_quad, kScanThreads, quads);
    for (int i = 0; i < 4 * kQuadsPerThread; ++i) {
      const int id = 4 * (first_quad + i / 4 * kScanThreads) + i % 4;
      const Place place = order.place(quads[i / 4].at[i % 4], id);
      if (id < logits.vocab_size && place >= floor) list(memory, place);
    }
  });
  __syncthreads();
  if (memory.num_listed > kMostListed) {
    const Place last = last_place<Counts>(logits, order, 0, count, memory);
    if (thread == 0) memory.num_listed = 0;
    __syncthreads();
    for_each_id(logits, [&](float logit, int id) {
      const Place place = order.place(logit, id);
      if (place >= last) list(memory, place);
    });
    __syncthreads();
  }
  sort_list(memory);
}

}  // namespace trireme::kernels::cuda
