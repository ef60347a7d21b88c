#pragma once

#include "kernels/cuda/detail/attention_common.cuh"

/// How the work of a prefill is dealt out to ctas that stay: in tiles of tokens with all query
/// heads of one KV head.
namespace trireme::kernels::cuda {

/// One tile: its row r is head r mod g of its token r / g.
struct PrefillWork {
  int token;     ///< of the batch, its first
  int position;  ///< of that token in its sequence
  int num_rows, kv_head;
  int first_key_tile, num_key_tiles;  ///< that any of its rows sees; none: the work is over
};

/// A sequence's keys as their loader needs them.
struct PrefillKeys {
  const std::int32_t* blocks;
  int end;  ///< keys there are; behind them memory may hold anything
};

/// Tiles are numbered from (tokens before) / tokens_per_tile + sequence on, so that a sequence's
/// number needs no sum over those before it; some numbers have no tile then.
struct PrefillSchedule {
  int tokens_per_tile, num_items;
  int* counters;  ///< items taken beyond one a cta, and ctas that found none left; zero between
                  ///< calls
};

/// By all lanes of a warp: the tile of a number, or one without keys.
template <int kKeys>
__device__ PrefillWork find_work(const Attention& a, int tokens_per_tile, int tile, int kv_head,
                                 PrefillKeys& keys) {
  const int first_seq = static_cast<int>(a.batch.num_decodes);
  const int num_seqs = static_cast<int>(a.batch.num_seqs);
  const int first_token = a.batch.q_begin[first_seq];
  for (int base = first_seq; base < num_seqs; base += 32) {
    const int seq = base + static_cast<int>(threadIdx.x % 32);
    int begin = 0, end = 0, skipped = 0;
    if (seq < num_seqs) {
      begin = a.batch.q_begin[seq];
      end = a.batch.q_begin[seq + 1];
      skipped =
          (tile - (begin - first_token) / tokens_per_tile - (seq - first_seq)) * tokens_per_tile;
    }
    const unsigned has_it = __ballot_sync(0xffffffffu, skipped >= 0 && skipped < end - begin);
    if (has_it == 0) continue;
    const int lane = __ffs(static_cast<int>(has_it)) - 1;
    begin = __shfl_sync(0xffffffffu, begin, lane);
    end = __shfl_sync(0xffffffffu, end, lane);
    skipped = __shfl_sync(0xffffffffu, skipped, lane);
    const int base_position = a.batch.first_position[base + lane];
    const int num_tokens = min(tokens_per_tile, end - begin - skipped);
    const int position = base_position + skipped, highest = position + num_tokens - 1;
    const int first_tile = first_key(a, position) / kKeys;
    keys = {blocks_of(a.batch, base + lane), base_position + end - begin};
    return {begin + skipped,
            position,
            num_tokens * static_cast<int>(a.num_heads / a.cache.num_kv_heads),
            kv_head,
            first_tile,
            highest / kKeys + 1 - first_tile};
  }
  return {};
}

/// By all lanes of a warp, one warp of each cta: the cta's next tile; without keys when there is
/// none left, which must not be asked again. `item`, the cta's number at first, is what lane 0 goes
/// on with. The last tiles of a sequence see most keys and come first.
template <int kKeys>
__device__ PrefillWork take_work(const Attention& a, const PrefillSchedule& schedule, int& item,
                                 PrefillKeys& keys) {
  const bool is_first = threadIdx.x % 32 == 0;
  const int num_heads = static_cast<int>(a.cache.num_kv_heads);
  const int num_ctas = static_cast<int>(gridDim.x);
  for (;;) {
    const int taken = __shfl_sync(0xffffffffu, item, 0);
    if (taken >= schedule.num_items) break;
    // Comes back while this tile is loaded.
    if (is_first) item = num_ctas + atomicAdd(&schedule.counters[0], 1);
    const int tile = (schedule.num_items - 1 - taken) / num_heads;
    const PrefillWork work =
        find_work<kKeys>(a, schedule.tokens_per_tile, tile, taken % num_heads, keys);
    if (work.num_key_tiles > 0) return work;
  }
  // Everybody's last item is behind: the one that comes last leaves the counters for the next call.
  if (is_first && atomicAdd(&schedule.counters[1], 1) == num_ctas - 1) {
    schedule.counters[0] = 0;
    schedule.counters[1] = 0;
  }
  return {};
}

}  // namespace trireme::kernels::cuda
