#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/detail/wgmma.cuh"

/// Hopper's pipelines between the warps of a cta: barriers in shared memory that count arrivals and
/// bytes, and the bulk copy engine, which brings boxes of arrays and reports to a barrier. A
/// barrier's phases alternate in parity, the first has 0. Only in code for sm_90a, as wgmma.
namespace trireme::kernels::cuda::pipeline {

/// A barrier is 8 bytes, and a phase of it ends with `arrivals` arrivals and all bytes expected.
__device__ inline void start_barrier(unsigned barrier, unsigned arrivals) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
#endif
}
/// By the thread that started barriers, before the cta's own barrier makes them known to all.
__device__ inline void show_barriers_to_copies() {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

__device__ inline void arrive(unsigned barrier) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}
/// Arrives, and lets the phase wait for `bytes` of copies that are started next.
__device__ inline void arrive_expecting(unsigned barrier, unsigned bytes) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
#endif
}
/// Waits for the end of the phase of this parity; the one before the first counts as ended.
__device__ inline void wait(unsigned barrier, unsigned parity) {
#ifdef TRIREME_HAS_WGMMA
  unsigned has_ended;
  do {
    asm volatile(
        "{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
        "selp.b32 %0, 1, 0, p;}"
        : "=r"(has_ended)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (has_ended == 0);
#endif
}

/// Brings the map's box at (x, y) to shared memory, zeros for what lies outside of the array; the
/// barrier gets all bytes of the box.
__device__ inline void copy_box(unsigned to, const CUtensorMap& map, int x, int y,
                                unsigned barrier) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
#endif
}
__device__ inline void copy_box(unsigned to, const CUtensorMap& map, int x, int y, int z,
                                unsigned barrier) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
#endif
}
/// Gets a map into the copy engine's cache ahead of its first use.
__device__ inline void prefetch(const CUtensorMap& map) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

/// The cta's numbered barriers (0 is __syncthreads'), of `threads` threads that wait or just pass.
__device__ inline void wait_at(int number, int threads) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#endif
}
__device__ inline void pass(int number, int threads) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
#endif
}

/// By all threads of a warpgroup: how many registers each has from here on. Those given back are
/// what others take.
template <int kCount>
__device__ inline void give_registers_down_to() {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
__device__ inline void take_registers_up_to() {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

}  // namespace trireme::kernels::cuda::pipeline
