#pragma once

#include <cstdint>
#include <functional>

#include "kernels/gemm.h"

namespace trireme::bench {

/// Gigabytes per second that `threads` threads read together from memory far larger than the
/// caches.
double read_bandwidth(int threads);

/// Gigaflops per second of float32 multiply-adds on `threads` threads with the vectors of the set;
/// with `pairs` of bfloat16 products (avx512_bf16 alone).
double peak_flops(int threads, kernels::cpu::InstructionSet set, bool pairs);

/// Seconds of one call: the best of several rounds of at least `round_s` seconds. With one OpenMP thread
/// of that thread's own time, so that other programs on the machine show less.
double best_seconds(const std::function<void()>& call, double round_s = 0.002, int rounds = 50);

}  // namespace trireme::bench
