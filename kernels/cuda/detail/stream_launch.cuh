#pragma once

#include <algorithm>

#include "kernels/cuda/detail/launch.cuh"

namespace trireme::kernels::cuda {

/// Whether a cta of the current device can have so much shared memory.
inline bool has_shared_memory(int bytes) {
  int device = 0, most = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return bytes <= most;
}

/// Launches a kernel that streams tiles: as many ctas as run at once, or one a tile.
template <typename Tile, typename Operands>
void launch_stream(void (*kernel)(Operands), std::int64_t num_tiles, Stream stream,
                   const Operands& operands) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  // What the ctas do not need is left to the L1 cache, where x stays.
  constexpr int kWholeKiB = 228, kNeededKiB = Tile::kCtas * (Tile::kSharedBytes / 1024 + 2);
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                       std::min(100, (kNeededKiB * 100 + kWholeKiB - 1) / kWholeKiB));
  const std::int64_t at_once = std::int64_t{num_multiprocessors()} * Tile::kCtas;
  launch_overlapped(
      kernel,
      {static_cast<unsigned>(std::min(num_tiles, at_once)), Tile::kThreads, Tile::kSharedBytes},
      stream, operands);
}

}  // namespace trireme::kernels::cuda
