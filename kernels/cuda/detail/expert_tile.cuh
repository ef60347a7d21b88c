#pragma once

#include <cstdint>

#include "kernels/moe.h"

namespace trireme::kernels::cuda {

/// Kernel for shapes and types that the tensor cores do not take.
void grouped_product_plain(const GroupedProduct& product, Stream stream);

/// Hopper's kernel for many rows a slot whose warps load or multiply, and whether it takes a
/// product.
bool takes_grouped_product_pipelined(const GroupedProduct& product);
void grouped_product_pipelined(const GroupedProduct& product, Stream stream);

/// Kernel for few places, each slot's weights read once with all its places, and whether it takes a
/// product.
bool takes_grouped_product_small(const GroupedProduct& product);
void grouped_product_small(const GroupedProduct& product, Stream stream);

/// Rows of one slot that a cta computes; slot -1: none.
struct ExpertTile {
  int slot, begin, end;
};

/// Tile `tile` of kRows rows. A slot's tiles are numbered from its begin / kRows + slot on, so that
/// a tile is found without adding up the slots before; some numbers have no tile. All threads call
/// it.
template <int kRows>
__device__ ExpertTile find_expert_tile(const std::int32_t* expert_begin, int num_slots, int tile) {
  __shared__ ExpertTile found;
  if (threadIdx.x == 0) found.slot = -1;
  __syncthreads();
  for (int slot = threadIdx.x; slot < num_slots; slot += blockDim.x) {
    const int begin = expert_begin[slot], end = expert_begin[slot + 1];
    const int first = begin / kRows + slot;
    const int row = begin + (tile - first) * kRows;
    if (tile >= first && row < end) found = {slot, row, min(end, row + kRows)};
  }
  __syncthreads();
  return found;
}

/// Numbers that find_expert_tile must be called with.
template <int kRows>
std::int64_t num_expert_tiles(const GroupedProduct& product) {
  return product.num_places / kRows + product.num_slots;
}

/// The row of x that a place reads.
__device__ inline std::int64_t row_of_place(const GroupedProduct& product, std::int64_t place) {
  if (product.pair_at == nullptr) return place;
  const std::int32_t pair = product.pair_at[place];
  if (product.row_of != nullptr) return product.row_of[pair];
  return static_cast<unsigned>(pair) / static_cast<unsigned>(product.top_k);
}

/// The weight row that column `column` of a product's tile reads: with silu_and_mul 16 gates stand
/// beside their 16 ups.
__device__ inline std::int64_t weight_row(const GroupedProduct& product, std::int64_t column) {
  if (!product.has_silu_and_mul) return column;
  const std::int64_t gate = column / 32 * 16 + column % 16;
  return gate + (column % 32 < 16 ? 0 : product.n / 2);
}

}  // namespace trireme::kernels::cuda
