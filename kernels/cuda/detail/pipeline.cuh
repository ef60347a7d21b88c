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
/// Arrives at the barrier at the same place of another cta of the cluster.
__device__ inline void arrive_at_cta(unsigned barrier, unsigned cta) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile(
      "{.reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; "
      "mbarrier.arrive.shared::cluster.b64 _, [there];}" ::"r"(barrier),
      "r"(cta)
      : "memory");
#endif
}
/// This cta's number in its cluster.
__device__ inline unsigned cta_of_cluster() {
  unsigned number = 0;
#ifdef TRIREME_HAS_WGMMA
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(number));
#endif
  return number;
}
/// By all threads of a cluster: waits for them all.
__device__ inline void wait_for_cluster() {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
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
/// copy_box() to the same place of every cta of the cluster that `ctas` has a bit for, each of
/// whose barriers at the same place gets the bytes.
__device__ inline void copy_box_to_ctas(unsigned to, const CUtensorMap& map, int x, int y,
                                        unsigned barrier, std::uint16_t ctas) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(barrier), "h"(ctas)
      : "memory");
#endif
}
/// Writes a box from shared memory to the map's array at (x, y), but for what lies outside of it.
__device__ inline void store_box(const CUtensorMap& map, unsigned from, int x, int y) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(
          &map),
      "r"(x), "r"(y), "r"(from)
      : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}
/// Waits until all but kLeft of this thread's store_box() have read their shared memory.
template <int kLeft>
__device__ inline void wait_for_reads_of_stores() {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
#endif
}
/// Waits until this thread's store_box() are done.
__device__ inline void wait_for_stores() {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
#endif
}
/// Gets a map into the copy engine's cache ahead of its first use.
__device__ inline void prefetch(const CUtensorMap& map) {
#ifdef TRIREME_HAS_WGMMA
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

/// Stages in shared memory, each with a barrier for "is full" and one for "is empty", in the order
/// in which every role goes through them.
template <int kStages, int kStageBytes>
struct StageCursor {
  unsigned base, full_barriers, empty_barriers;
  int at = 0;
  unsigned parity = 0;

  /// Addresses of the first stage and of the first barrier of each kind.
  __device__ StageCursor(unsigned first_stage, unsigned first_full, unsigned first_empty)
      : base(first_stage), full_barriers(first_full), empty_barriers(first_empty) {}
  __device__ unsigned stage() const { return base + at * kStageBytes; }
  __device__ unsigned full() const { return full_barriers + at * 8; }
  __device__ unsigned empty() const { return empty_barriers + at * 8; }
  __device__ void wait_until_full() const { wait(full(), parity); }
  /// At first all stages are empty.
  __device__ void wait_until_empty() const { wait(empty(), parity ^ 1); }
  __device__ void advance() {
    if (++at < kStages) return;
    at = 0;
    parity ^= 1;
  }
};

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
