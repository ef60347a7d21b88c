#pragma once

#include "kernels/cuda/detail/expert_tile.cuh"

namespace trireme::kernels::cuda {

/// What ctas that go through many tiles look up, in shared memory: of every slot its first tile of
/// tokens and its first place. The entry behind the last slot has their numbers.
struct TokenTileTable {
  static constexpr int kMostSlots = 1024;
  int first[kMostSlots + 1], begin[kMostSlots + 1];
};

/// Places of one slot and, of its columns, tile `column`.
struct TokenTile {
  int slot, begin, end, column;
};

/// All threads call it and may read `table` behind it. A slot has as few tiles of at most kTokens
/// places as it can.
template <int kTokens>
__device__ void fill_token_tiles(const GroupedProduct& p, TokenTileTable& table) {
  const int num_slots = static_cast<int>(p.num_slots);
  for (int slot = threadIdx.x; slot <= num_slots; slot += blockDim.x) {
    const int begin = p.expert_begin[slot], end = p.expert_begin[min(slot + 1, num_slots)];
    table.begin[slot] = begin;
    table.first[slot] = (end - begin + kTokens - 1) / kTokens;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x, of_lane = (num_slots + 31) / 32;
    const int begin = min(lane * of_lane, num_slots), end = min(begin + of_lane, num_slots);
    int own = 0;
    for (int slot = begin; slot < end; ++slot) own += table.first[slot];
    int until = own;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      const int before = __shfl_up_sync(0xffffffffu, until, lanes);
      if (lane >= lanes) until += before;
    }
    int next = until - own;
    for (int slot = begin; slot < end; ++slot) {
      const int count = table.first[slot];
      table.first[slot] = next;
      next += count;
    }
    if (lane == 31) table.first[num_slots] = until;
  }
  __syncthreads();
}

/// Tile `tile` of first[num_slots] · num_columns: slot by slot, the tiles of the same columns
/// behind each other, since they share weights. A slot's places are split evenly, in sixteens. All
/// lanes of a warp call it together.
__device__ inline TokenTile token_tile(const TokenTileTable& table, int num_slots, int num_columns,
                                       int tile) {
  const int lane = threadIdx.x % 32, tokens = tile / num_columns;
  // How many thirty-twos of slots, then how many slots of the next one, lie before.
  const bool is_32_before = table.first[min((lane + 1) * 32, num_slots)] <= tokens;
  const int base = __popc(__ballot_sync(0xffffffffu, is_32_before)) * 32;
  const bool is_before = table.first[min(base + lane + 1, num_slots)] <= tokens;
  const int slot = base + __popc(__ballot_sync(0xffffffffu, is_before));

  const int begin = table.begin[slot], end = table.begin[slot + 1];
  const int num_tiles = table.first[slot + 1] - table.first[slot];
  const int in_slot = tile - table.first[slot] * num_columns;
  const int size = ((end - begin + num_tiles - 1) / num_tiles + 15) / 16 * 16;
  const int at = begin + in_slot % num_tiles * size;
  return {slot, at, min(end, at + size), in_slot / num_tiles};
}

}  // namespace trireme::kernels::cuda
