#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>

#include "kernels/gemm.h"

namespace trireme::bench {

/// Zeroed memory in large pages where the system has them, as the weights of a model lie.
class Memory {
 public:
  explicit Memory(std::size_t bytes);
  std::byte* data() const { return memory_.get(); }
  std::size_t size() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

/// Gigabytes per second that `threads` threads read together from memory far larger than the
/// caches.
double read_bandwidth(int threads);

/// Gigaflops per second of float32 multiply-adds on `threads` threads with the vectors of the set;
/// with `pairs` of bfloat16 products (avx512_bf16 alone).
double peak_flops(int threads, kernels::cpu::InstructionSet set, bool pairs);

/// A clock in seconds. With one OpenMP thread it is that thread's own time, so that other programs
/// on the machine show less.
double seconds_now();

/// Seconds of one call by that clock: the best of several rounds of at least `round_s` seconds.
double best_seconds(const std::function<void()>& call, double round_s = 0.002, int rounds = 50);

}  // namespace trireme::bench
