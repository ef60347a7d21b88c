#include <cstddef>

#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/attention_tile.cuh"
#include "kernels/cuda/detail/boxed_array.h"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/pipeline.cuh"
#include "kernels/cuda/detail/prefill_work.cuh"
#include "kernels/cuda/detail/wgmma.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kStages = 2;  ///< of keys, of values, and of queries with their work

/// One cta a multiprocessor stays for all the work: a loading warp takes tiles and brings queries,
/// keys and values ahead of kGroups warpgroups, each of which has 64 of a tile's rows. In shared
/// memory a row is cut into parts of 64 elements.
template <int kDim_, int kGroups_>
struct Tiling {
  static constexpr int kDim = kDim_, kGroups = kGroups_, kKeys = 128;
  static constexpr int kRows = kGroups * 64, kThreads = kGroups * 128 + 128;
  /// Of 65,536, which are dealt out evenly at first; multiples of 8.
  static constexpr int kLoaderRegisters = kGroups == 2 ? 56 : 32;
  static constexpr int kGroupRegisters = kGroups == 2 ? 224 : 160;
  static constexpr int kParts = kDim / 64;
  static constexpr int kQueryPartBytes = kRows * 128, kQueryBytes = kParts * kQueryPartBytes;
  static constexpr int kKeyPartBytes = kKeys * 128, kTileBytes = kParts * kKeyPartBytes;
  static constexpr int kSharedBytes =
      kStages * (kQueryBytes + 2 * kTileBytes) + 1024;  // to align the first
};

struct Maps {
  CUtensorMap queries;  ///< [num_tokens, num_heads, head_dim]
  CUtensorMap keys;     ///< [rows of all blocks and KV heads, head_dim]
  CUtensorMap values;   ///< as keys
};

/// Full: the copies are there; empty: all warps have left the place.
struct Shared {
  std::uint64_t queries_full[kStages], queries_empty[kStages];
  std::uint64_t keys_full[kStages], keys_empty[kStages];
  std::uint64_t values_full[kStages], values_empty[kStages];
  std::uint64_t tail_full;  ///< values behind which rows must be cleared before they are shown
  PrefillWork work[kStages];
};

/// Addresses in shared memory; stage s of what is used for the n-th time is n mod kStages.
template <typename Tile>
struct Places {
  Shared* shared;
  unsigned base;
  __device__ static unsigned stage_of(unsigned use) { return use % kStages; }
  __device__ static unsigned parity_of(unsigned use) { return use / kStages % 2; }
  __device__ unsigned queries(unsigned use) const {
    return base + stage_of(use) * Tile::kQueryBytes;
  }
  __device__ unsigned keys(unsigned use) const {
    return base + kStages * Tile::kQueryBytes + stage_of(use) * 2 * Tile::kTileBytes;
  }
  __device__ unsigned values(unsigned use) const { return keys(use) + Tile::kTileBytes; }
  __device__ static unsigned barrier(const std::uint64_t (&barriers)[kStages], unsigned use) {
    return shared_address(&barriers[stage_of(use)]);
  }
  __device__ static void wait_full(const std::uint64_t (&barriers)[kStages], unsigned use) {
    pipeline::wait(barrier(barriers, use), parity_of(use));
  }
  __device__ static void wait_empty(const std::uint64_t (&barriers)[kStages], unsigned use) {
    pipeline::wait(barrier(barriers, use), parity_of(use) ^ 1);
  }
  /// Once a warp, when all its lanes are done with the place.
  __device__ static void leave(const std::uint64_t (&barriers)[kStages], unsigned use) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) pipeline::arrive(barrier(barriers, use));
  }
};

template <typename Tile>
__device__ void start_barriers(Shared& shared) {
  constexpr unsigned kWarps = Tile::kGroups * 4;
#pragma unroll
  for (unsigned i = 0; i < kStages; ++i) {
    for (const auto* full : {&shared.queries_full, &shared.keys_full, &shared.values_full}) {
      pipeline::start_barrier(shared_address(&(*full)[i]), 1);
    }
    for (const auto* empty : {&shared.queries_empty, &shared.keys_empty, &shared.values_empty}) {
      pipeline::start_barrier(shared_address(&(*empty)[i]), kWarps);
    }
  }
  pipeline::start_barrier(shared_address(&shared.tail_full), 1);
  pipeline::show_barriers_to_copies();
}

/// This lane's box of every tile of keys: a block's rows, or a tile's where blocks are longer.
template <typename Tile>
struct KeyBox {
  int shift, num_kv_heads, row_outside;
  int key, column;  ///< in the tile
  unsigned to;      ///< in the stage
  bool is_there;    ///< lanes beyond the number of boxes have none

  __device__ KeyBox(const Attention& a) {
    shift = 31 - __clz(static_cast<int>(a.cache.tokens_per_block));
    num_kv_heads = static_cast<int>(a.cache.num_kv_heads);
    row_outside = static_cast<int>(a.cache.num_blocks << shift) * num_kv_heads;
    const int lane = static_cast<int>(threadIdx.x % 32), part = lane % Tile::kParts;
    key = lane / Tile::kParts * min(1 << shift, Tile::kKeys);
    column = part * 64;
    to = static_cast<unsigned>(part * Tile::kKeyPartBytes + key * 128);
    is_there = key < Tile::kKeys;
  }
  /// Of the maps; outside, where the copy engine writes zeros, for blocks that nobody sees.
  __device__ int row(const PrefillKeys& keys, int kv_head, int first_key) const {
    const int at = first_key + key;
    const int block = is_there && at < keys.end ? keys.blocks[at >> shift] : -1;
    if (block < 0) return row_outside;
    return ((block * num_kv_heads + kv_head) << shift) + (at & ((1 << shift) - 1));
  }
};

/// Zeros for values that come behind a sequence's last in its block: their weights are zero, but
/// memory may hold NaN.
template <typename Tile>
__device__ void clear_values(unsigned values, int begin, int end) {
  for (int i = static_cast<int>(threadIdx.x % 32); i < (end - begin) * 8 * Tile::kParts; i += 32) {
    const int row = begin + i / 8 % (end - begin), part = i / 8 / (end - begin);
    const unsigned to =
        values + static_cast<unsigned>(part * Tile::kKeyPartBytes + row * 128 + i % 8 * 16);
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
  }
  wgmma::fence_shared_writes();
  __syncwarp();
}

template <typename Tile>
__device__ void load_queries(const Maps& maps, const Places<Tile>& places, const PrefillWork& work,
                             const PrefillSchedule& schedule, int heads_per_kv, unsigned use) {
  Shared& shared = *places.shared;
  places.wait_empty(shared.queries_empty, use);
  if (threadIdx.x % 32 != 0) return;
  shared.work[places.stage_of(use)] = work;
  const unsigned full = places.barrier(shared.queries_full, use);
  if (work.num_key_tiles == 0) return pipeline::arrive(full);
  const int rows = schedule.tokens_per_tile * heads_per_kv;
  pipeline::arrive_expecting(full, static_cast<unsigned>(rows * 128 * Tile::kParts));
#pragma unroll
  for (int part = 0; part < Tile::kParts; ++part) {
    pipeline::copy_box(places.queries(use) + part * Tile::kQueryPartBytes, maps.queries, part * 64,
                       work.kv_head * heads_per_kv, work.token, full);
  }
}

/// The loading warp: work, queries, and keys and values from the last tile to the first.
template <typename Tile>
__device__ void load_all(const Attention& a, const Maps& maps, const PrefillSchedule& schedule,
                         const Places<Tile>& places) {
  Shared& shared = *places.shared;
  const bool is_first = threadIdx.x % 32 == 0;
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  const KeyBox<Tile> box(a);
  const unsigned tail_full = shared_address(&shared.tail_full);
  unsigned use = 0, tail_parity = 0;
  int item = static_cast<int>(blockIdx.x);
  for (unsigned query_use = 0;; ++query_use) {
    PrefillKeys sequence;
    const PrefillWork work = take_work<Tile::kKeys>(a, schedule, item, sequence);
    load_queries(maps, places, work, schedule, heads_per_kv, query_use);
    if (work.num_key_tiles == 0) return;
    for (int n = work.num_key_tiles - 1; n >= 0; --n, ++use) {
      const int first_key = (work.first_key_tile + n) * Tile::kKeys;
      const int row = box.row(sequence, work.kv_head, first_key);
      places.wait_empty(shared.keys_empty, use);
      unsigned full = places.barrier(shared.keys_full, use);
      if (is_first) pipeline::arrive_expecting(full, Tile::kTileBytes);
      __syncwarp();
      if (box.is_there) {
        pipeline::copy_box(places.keys(use) + box.to, maps.keys, box.column, row, full);
      }
      const int tail = sequence.end - first_key;
      const int tail_end =
          min((tail + (1 << box.shift) - 1) >> box.shift << box.shift, Tile::kKeys);
      places.wait_empty(shared.values_empty, use);
      full = tail < tail_end ? tail_full : places.barrier(shared.values_full, use);
      if (is_first) pipeline::arrive_expecting(full, Tile::kTileBytes);
      __syncwarp();
      if (box.is_there) {
        pipeline::copy_box(places.values(use) + box.to, maps.values, box.column, row, full);
      }
      if (tail >= tail_end) continue;
      pipeline::wait(tail_full, tail_parity);
      tail_parity ^= 1;
      clear_values<Tile>(places.values(use), tail, tail_end);
      if (is_first) pipeline::arrive(places.barrier(shared.values_full, use));
    }
  }
}

/// Which keys the rows of a warpgroup see, and this lane's two.
template <typename Tile>
struct GroupSight {
  int lowest, first_of_highest;
  int position[2], first_of_row[2];

  __device__ GroupSight(const Attention& a, const PrefillWork& work, int heads_per_kv) {
    const int thread = static_cast<int>(threadIdx.x), group_row = thread / 128 * 64;
    lowest = work.position + group_row / heads_per_kv;
    first_of_highest = first_key(a, work.position + (group_row + 63) / heads_per_kv);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = thread / 32 * 16 + half * 8 + thread % 32 / 4;
      position[half] = work.position + row / heads_per_kv;
      first_of_row[half] = first_key(a, position[half]);
    }
  }
  /// -inf for keys that a row does not see; memory may hold anything there.
  __device__ void mask(float (&scores)[Tile::kKeys / 2], int first_key) const {
    const int lane_key = first_key + static_cast<int>(threadIdx.x % 4) * 2;
    if (first_key + Tile::kKeys - 1 > lowest) {
      const int last[2] = {position[0] - lane_key, position[1] - lane_key};
#pragma unroll
      for (int i = 0; i < Tile::kKeys / 2; ++i) {
        if (i / 4 * 8 + i % 2 > last[i % 4 / 2]) scores[i] = -INFINITY;
      }
    }
    if (first_key < first_of_highest) {
      const int first[2] = {first_of_row[0] - lane_key, first_of_row[1] - lane_key};
#pragma unroll
      for (int i = 0; i < Tile::kKeys / 2; ++i) {
        if (i / 4 * 8 + i % 2 < first[i % 4 / 2]) scores[i] = -INFINITY;
      }
    }
  }
};

/// Turns scores into weights relative to the new maximum. `shrink` is for what was summed before;
/// the sums of weights have it already.
template <int kDim, int kCount>
__device__ void weigh(SoftmaxRows<kDim>& rows, float (&scores)[kCount], float scale,
                      float (&shrink)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most[2] = {scores[half * 2], scores[half * 2 + 1]};
#pragma unroll
    for (int j = 4; j < kCount; j += 4) {
      most[0] = fmaxf(most[0], scores[j + half * 2]);
      most[1] = fmaxf(most[1], scores[j + half * 2 + 1]);
    }
    float now = fmaxf(most[0], most[1]);
    now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1));
    now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2)) * scale;
    const float before = rows.largest[half];
    now = fmaxf(before, now);
    // A row that has seen no key yet: subtract 0 from its -inf.
    const float base = now == -INFINITY ? 0.0f : now;
    shrink[half] = power_of_two(before - base);
    rows.largest[half] = now;
    float sum[2] = {};
#pragma unroll
    for (int j = 0; j < kCount; j += 4) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[j + half * 2 + i];
        score = power_of_two(score * scale - base);
        sum[i] += score;
      }
    }
    rows.sum[half] = rows.sum[half] * shrink[half] + (sum[0] + sum[1]);
  }
}

/// A warpgroup at its rows of a tile. Products are only started here; who reads the sums waits.
template <typename T, typename Tile>
struct Group {
  static constexpr int kDim = Tile::kDim, kKeys = Tile::kKeys;
  SoftmaxRows<kDim> rows;
  float scores[kKeys / 2];
  unsigned weights[kKeys / 16][4];

  __device__ auto& out() { return reinterpret_cast<float(&)[kDim / 2]>(rows.out); }

  __device__ void start_scores(unsigned queries, unsigned keys) {
    const std::uint64_t a = wgmma::rows_of_128_bytes(queries);
    const std::uint64_t b = wgmma::rows_of_128_bytes(keys);
    wgmma::fence();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      // A product's 16 elements are 32 bytes in a part; descriptors count in 16 bytes.
      const unsigned part = step / 4, in_row = step % 4 * 2;
      wgmma::multiply(scores, a + (part * Tile::kQueryPartBytes / 16 + in_row),
                      b + (part * Tile::kKeyPartBytes / 16 + in_row), step > 0, T{});
    }
    wgmma::commit();
  }
  __device__ void start_sums(unsigned values) {
    const std::uint64_t b = wgmma::columns_of_128_bytes(values, Tile::kKeyPartBytes);
    wgmma::fence();
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      wgmma::multiply_values(out(), weights[step], b + step * 128, T{});  // 16 rows of 128 bytes
    }
    wgmma::commit();
  }
  __device__ void pack_weights() {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) {
      weights[i / 4][i % 4] = pack_two(scores[i * 2], scores[i * 2 + 1], T{});
    }
  }
  __device__ void shrink_sums(const float (&shrink)[2]) {
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) out()[i] *= shrink[i % 4 / 2];
  }
};

/// The number of this thread's warpgroup, known to be one for the whole warp.
__device__ inline int number_of_group() {
  return static_cast<int>(__shfl_sync(0xffffffffu, threadIdx.x / 128, 0));
}

/// Warpgroups take turns at starting their products, so that the weights of one are computed beside
/// the products of another.
template <typename Tile>
__device__ void wait_for_turn(int group) {
  pipeline::wait_at(1 + group, 256);
}
template <typename Tile>
__device__ void give_turn(int group) {
  pipeline::pass(1 + (group + 1) % Tile::kGroups, 256);
}

/// All keys of one tile, from the last to the first. The scores of the next tile of keys are on
/// their way while the values of this one are summed. `use` counts the tiles of keys over all work.
template <typename T, typename Tile>
__device__ void attend(Group<T, Tile>& group, const Attention& a, const PrefillWork& work,
                       const Places<Tile>& places, unsigned queries, int heads_per_kv,
                       unsigned& use) {
  const Shared& shared = *places.shared;
  const GroupSight<Tile> sight(a, work, heads_per_kv);
  const float scale = a.scale * kLog2OfE;
  const int number = number_of_group();
  int first_key = (work.first_key_tile + work.num_key_tiles - 1) * Tile::kKeys;
  float shrink[2];
  places.wait_full(shared.keys_full, use);
  group.start_scores(queries, places.keys(use));
  wgmma::wait_for_products<0>();
  wgmma::hold(group.scores);
  places.leave(shared.keys_empty, use);
  sight.mask(group.scores, first_key);
  weigh(group.rows, group.scores, scale, shrink);
  group.pack_weights();
  for (int n = work.num_key_tiles - 1; n > 0; --n, ++use) {
    first_key -= Tile::kKeys;
    places.wait_full(shared.keys_full, use + 1);
    wait_for_turn<Tile>(number);
    group.start_scores(queries, places.keys(use + 1));
    places.wait_full(shared.values_full, use);
    group.start_sums(places.values(use));
    give_turn<Tile>(number);
    wgmma::wait_for_products<1>();
    wgmma::hold(group.scores);
    places.leave(shared.keys_empty, use + 1);
    sight.mask(group.scores, first_key);
    weigh(group.rows, group.scores, scale, shrink);
    // Over already: without a branch here the compiler computes the weights behind the next wait
    // instead of beside the products.
    wgmma::hold(group.scores);
    places.wait_full(shared.values_full, use);
    wgmma::wait_for_products<0>();
    wgmma::hold(group.out());
    places.leave(shared.values_empty, use);
    group.pack_weights();
    group.shrink_sums(shrink);
  }
  places.wait_full(shared.values_full, use);
  group.start_sums(places.values(use));
  wgmma::wait_for_products<0>();
  wgmma::hold(group.out());
  places.leave(shared.values_empty, use);
  ++use;
}

/// Four lanes have two elements each of four chunks of eight; afterwards lane q has all of chunk q.
__device__ inline uint4 gather_chunk(unsigned (&pairs)[4]) {
  const bool is_odd = threadIdx.x % 2 != 0, is_upper = threadIdx.x % 4 >= 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const unsigned other = __shfl_xor_sync(0xffffffffu, is_odd ? pairs[i] : pairs[i + 1], 1);
    (is_odd ? pairs[i] : pairs[i + 1]) = other;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const unsigned other = __shfl_xor_sync(0xffffffffu, is_upper ? pairs[i] : pairs[i + 2], 2);
    (is_upper ? pairs[i] : pairs[i + 2]) = other;
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

template <typename T, int kDim>
__device__ void store_work(const Attention& a, const PrefillWork& work, int heads_per_kv,
                           SoftmaxRows<kDim>& rows) {
  finish_sums(rows);
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = thread / 32 * 16 + half * 8 + thread % 32 / 4;
    const std::int64_t token = work.token + row / heads_per_kv;
    const std::int64_t head = work.kv_head * heads_per_kv + row % heads_per_kv;
    T* to = static_cast<T*>(a.out) + (token * a.num_heads + head) * kDim + thread % 4 * 8;
    const float factor = 1.0f / rows.sum[half];
#pragma unroll
    for (int j = 0; j < kDim / 8; j += 4) {
      unsigned pairs[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&out)[4] = rows.out[j + i];
        pairs[i] = pack_two(out[half * 2] * factor, out[half * 2 + 1] * factor, T{});
      }
      const uint4 chunk = gather_chunk(pairs);
      if (row < work.num_rows) *reinterpret_cast<uint4*>(to + j * 8) = chunk;
    }
  }
}

template <typename T, typename Tile>
__device__ void attend_to_all(const Attention& a, const Places<Tile>& places) {
  Shared& shared = *places.shared;
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  const int number = number_of_group();
  if (number == Tile::kGroups - 1) give_turn<Tile>(number);
  unsigned use = 0;
  for (unsigned query_use = 0;; ++query_use) {
    places.wait_full(shared.queries_full, query_use);
    const PrefillWork work = shared.work[places.stage_of(query_use)];
    if (work.num_key_tiles == 0) break;
    Group<T, Tile> group;
    attend(group, a, work, places, places.queries(query_use) + number * 64 * 128, heads_per_kv,
           use);
    places.leave(shared.queries_empty, query_use);
    store_work<T, Tile::kDim>(a, work, heads_per_kv, group.rows);
  }
  if (number == 0) wait_for_turn<Tile>(number);  // the one that the last group gave
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    prefill_pipelined_kernel(const Attention a, const __grid_constant__ Maps maps,
                             const PrefillSchedule schedule) {
  extern __shared__ unsigned char memory[];
  __shared__ Shared shared;
  const Places<Tile> places{&shared, (shared_address(memory) + 1023) / 1024 * 1024};
  if (threadIdx.x == 0) start_barriers<Tile>(shared);
  __syncthreads();
  if (threadIdx.x >= Tile::kGroups * 128) {
    pipeline::give_registers_down_to<Tile::kLoaderRegisters>();
    // The other warps of the loader's group only bring their registers.
    if (threadIdx.x / 32 == Tile::kGroups * 4) load_all(a, maps, schedule, places);
  } else {
    pipeline::take_registers_up_to<Tile::kGroupRegisters>();
    attend_to_all<T>(a, places);
  }
}

template <typename Tile>
Maps make_maps(const Attention& a, int heads_per_kv, int tokens_per_tile) {
  const KvCache& cache = a.cache;
  const auto unsigned_of = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  const auto box_of = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
  const std::uint64_t dim = unsigned_of(cache.head_dim);
  const std::int64_t box_rows =
      cache.tokens_per_block < Tile::kKeys ? cache.tokens_per_block : Tile::kKeys;
  BoxedArray rows{
      .data = cache.k,
      .dtype = cache.dtype,
      .ndim = 2,
      .extent = {dim, unsigned_of(cache.num_blocks * cache.num_kv_heads * cache.tokens_per_block),
                 1},
      .stride = {dim, 0},
      .box = {64, box_of(box_rows), 1}};
  Maps maps;
  maps.keys = boxes_of(rows);
  rows.data = cache.v;
  maps.values = boxes_of(rows);
  maps.queries = boxes_of({.data = a.q,
                           .dtype = cache.dtype,
                           .ndim = 3,
                           .extent = {dim, unsigned_of(a.num_heads), unsigned_of(a.num_tokens)},
                           .stride = {dim, unsigned_of(a.q_stride)},
                           .box = {64, box_of(heads_per_kv), box_of(tokens_per_tile)}});
  return maps;
}

template <typename T, typename Tile>
void launch(const Attention& a, Stream stream) {
  const auto kernel = prefill_pipelined_kernel<T, Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const int heads_per_kv = static_cast<int>(a.num_heads / a.cache.num_kv_heads);
  const int tokens_per_tile = Tile::kRows / heads_per_kv;
  const std::int64_t tiles =
      a.num_tokens / tokens_per_tile + a.batch.num_seqs - a.batch.num_decodes;
  const std::int64_t items = tiles * a.cache.num_kv_heads;
  TRIREME_CHECK(a.workspace != nullptr && items < std::int64_t{1} << 30, "items=", items);
  auto* counters = reinterpret_cast<int*>(static_cast<unsigned char*>(a.workspace) +
                                          prefill_counters_offset(a.cache.head_dim));
  const std::int64_t most = num_multiprocessors();
  const auto ctas = static_cast<unsigned>(items < most ? items : most);
  kernel<<<ctas, Tile::kThreads, Tile::kSharedBytes, stream>>>(
      a, make_maps<Tile>(a, heads_per_kv, tokens_per_tile),
      {tokens_per_tile, static_cast<int>(items), counters});
}

template <int kDim>
using Chosen = Tiling<kDim, kDim == 64 ? 3 : 2>;

template <typename T>
void launch_for_dim(const Attention& a, Stream stream) {
  if (a.cache.head_dim == 64) return launch<T, Chosen<64>>(a, stream);
  launch<T, Chosen<128>>(a, stream);
}

}  // namespace

bool can_pipeline_prefill(const Attention& a) {
  // Other GPUs, and builds without sm_90a, have the kernel from PTX in which it is empty.
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    const auto kernel = prefill_pipelined_kernel<__nv_bfloat16, Chosen<128>>;
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion == 90;
  }();
  const KvCache& cache = a.cache;
  const std::int64_t rows = cache.num_blocks * cache.num_kv_heads * cache.tokens_per_block;
  return has_it && (cache.head_dim == 64 || cache.head_dim == 128) && cache.tokens_per_block >= 8 &&
         a.num_heads / cache.num_kv_heads <= Chosen<128>::kRows && rows < std::int64_t{1} << 31;
}

void attention_prefill_pipelined(const Attention& a, Stream stream) {
  if (a.cache.dtype == DType::bfloat16) return launch_for_dim<__nv_bfloat16>(a, stream);
  launch_for_dim<__half>(a, stream);
}

}  // namespace trireme::kernels::cuda
