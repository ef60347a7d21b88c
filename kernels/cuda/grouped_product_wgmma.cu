#include "kernels/cuda/detail/expert_copy.cuh"
#include "kernels/cuda/detail/expert_store.cuh"
#include "kernels/cuda/detail/expert_tile.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/wgmma.cuh"

namespace trireme::kernels::cuda {
namespace {

/// A cta of two warpgroups computes kRows places x kColumns columns: 128 rows are split between the
/// warpgroups, of 64 the columns are.
template <int kRows_, int kColumns_, int kStages_, int kCtas_>
struct Tiling {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kStages = kStages_, kCtas = kCtas_;
  static constexpr int kThreads = 256;
  static constexpr int kColumnsOfGroup = kRows == 128 ? kColumns : kColumns / 2;
  static constexpr int kStageBytes = (kRows + kColumns) * kDepth * 2;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024;  // to align the first stage
};

// Two ctas a multiprocessor: one multiplies while the other is at its start or its end.
using SomeRows = Tiling<64, 128, 4, 2>;
using ManyRows = Tiling<128, 128, 3, 2>;

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kCtas)
    wgmma_kernel(const GroupedProduct p) {
  extern __shared__ unsigned char memory[];
  const ExpertTile tile = find_expert_tile<Tile::kRows>(
      p.expert_begin, static_cast<int>(p.num_slots), static_cast<int>(blockIdx.y));
  if (tile.slot < 0) return;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * Tile::kColumns;
  const StageCopy<T, Tile> copy(p, tile, column);
  const int num_steps = static_cast<int>((p.k + kDepth - 1) / kDepth);
  const unsigned base = (shared_address(memory) + 1023) / 1024 * 1024;
  constexpr int kAhead = Tile::kStages - 1;
#pragma unroll
  for (int stage = 0; stage < kAhead; ++stage) {
    if (stage < num_steps) copy.start(base + stage * Tile::kStageBytes, stage * kDepth, p.k);
    commit_copies();
  }

  const int group = threadIdx.x / 128;
  const int group_row = Tile::kRows == 128 ? group * 64 : 0;
  const int group_column = Tile::kRows == 128 ? 0 : group * Tile::kColumnsOfGroup;
  float sums[Tile::kColumnsOfGroup / 2] = {};
  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies<kAhead - 1>();
    wgmma::fence_shared_writes();
    wgmma::wait_for_products<0>();
    // Behind this barrier nobody reads the stage before, whose place the next one takes.
    __syncthreads();
    const int next = step + kAhead;
    if (next < num_steps) {
      copy.start(base + next % Tile::kStages * Tile::kStageBytes,
                 static_cast<std::int64_t>(next) * kDepth, p.k);
    }
    commit_copies();
    const unsigned stage = base + step % Tile::kStages * Tile::kStageBytes;
    const std::uint64_t a = wgmma::rows_of_128_bytes(stage + group_row * 128);
    const std::uint64_t b = wgmma::rows_of_128_bytes(stage + (Tile::kRows + group_column) * 128);
    wgmma::fence();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) wgmma::multiply(sums, a + k * 2, b + k * 2, true, T{});
    wgmma::commit();
  }
  wgmma::wait_for_products<0>();
  const int warp_row = group_row + threadIdx.x % 128 / 32 * 16;
  store_row_tile<T>(p, tile, sums, warp_row, column + group_column);
}

template <typename T, typename Tile>
void launch(const GroupedProduct& p, Stream stream) {
  const auto kernel = wgmma_kernel<T, Tile>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  const dim3 grid(static_cast<unsigned>(ceil_div(p.n, Tile::kColumns)),
                  static_cast<unsigned>(num_expert_tiles<Tile::kRows>(p)));
  kernel<<<grid, Tile::kThreads, Tile::kSharedBytes, stream>>>(p);
}

template <typename T>
void launch_for_rows(const GroupedProduct& p, Stream stream) {
  if (p.num_places / p.num_slots <= 80) return launch<T, SomeRows>(p, stream);
  launch<T, ManyRows>(p, stream);
}

}  // namespace

bool has_grouped_product_wgmma() {
  // Other GPUs, and builds without sm_90a, have the kernel from PTX in which it is empty.
  static const bool has_it = [] {
    cudaFuncAttributes attributes{};
    const auto kernel = wgmma_kernel<__nv_bfloat16, ManyRows>;
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion == 90;
  }();
  return has_it;
}

void grouped_product_wgmma(const GroupedProduct& product, Stream stream) {
  if (product.dtype == DType::bfloat16) return launch_for_rows<__nv_bfloat16>(product, stream);
  launch_for_rows<__half>(product, stream);
}

}  // namespace trireme::kernels::cuda
