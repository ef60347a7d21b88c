#include "machine.h"

#include <immintrin.h>
#include <omp.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/clock.h"
#include "kernels/cpu/detail/simd.h"

namespace trireme::bench {
namespace {

using kernels::cpu::InstructionSet;
namespace simd = kernels::cpu::simd;

constexpr int kChains = 12;

template <int lanes>
TRIREME_INLINE float multiply_add(std::int64_t count) {
  simd::Floats<lanes> sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = simd::Floats<lanes>{} + static_cast<float>(i);
  simd::Floats<lanes> x = simd::Floats<lanes>{} + 0.5f;
  for (std::int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = sum * x + x;
    asm volatile("" : "+v"(x));  // a new value for all the compiler knows
  }
  for (int i = 1; i < kChains; ++i) sums[0] += sums[i];
  return simd::sum_lanes<lanes>(sums[0]);
}

[[gnu::noinline]] float multiply_add_generic(std::int64_t count) { return multiply_add<4>(count); }
[[gnu::noinline]] TRIREME_AVX2 float multiply_add_avx2(std::int64_t count) {
  return multiply_add<8>(count);
}
[[gnu::noinline]] TRIREME_AVX512 float multiply_add_avx512(std::int64_t count) {
  return multiply_add<16>(count);
}

[[gnu::noinline]] TRIREME_AVX512 float multiply_add_pairs(std::int64_t count) {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x00010001));
  for (std::int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, x, x);
    asm volatile("" : "+v"(x));
  }
  for (int i = 1; i < kChains; ++i) sums[0] += sums[i];
  return simd::sum_lanes<16>(sums[0]);
}

float sum_of(const float* from, std::int64_t count) {
  simd::Floats<4> sums[8] = {};
  for (std::int64_t i = 0; i + 32 <= count; i += 32) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sums[j] += simd::load<4>(from + i + 4 * j);
  }
  for (int j = 1; j < 8; ++j) sums[0] += sums[j];
  return simd::sum_lanes<4>(sums[0]);
}

}  // namespace

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
  constexpr std::size_t page = std::size_t{2} << 20;
  const std::size_t rounded = (bytes + page - 1) / page * page;
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(page, rounded)));
  if (!memory_) throw std::bad_alloc();
  ::madvise(memory_.get(), rounded, MADV_HUGEPAGE);
  std::memset(memory_.get(), 0, rounded);
}

double seconds_now() {
  if (omp_get_max_threads() > 1) return monotonic_seconds();
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double best_seconds(const std::function<void()>& call, double round_s, int rounds) {
  double best = 1e30;
  for (int round = 0; round < rounds; ++round) {
    int calls = 0;
    const double start = seconds_now();
    do {
      call();
      ++calls;
    } while (seconds_now() - start < round_s);
    best = std::min(best, (seconds_now() - start) / calls);
  }
  return best;
}

double read_bandwidth(int threads) {
  const std::int64_t count = std::int64_t{64} << 20;
  static const Memory memory(static_cast<std::size_t>(count) * sizeof(float));
  const auto* values = reinterpret_cast<const float*>(memory.data());
  volatile float sink = 0;
  const double seconds = best_seconds([&] {
#pragma omp parallel num_threads(threads)
    {
      const std::int64_t part = count / threads;
      sink = sum_of(values + part * omp_get_thread_num(), part);
    }
  });
  return static_cast<double>(count) * 4 / seconds / 1e9;
}

double peak_flops(int threads, InstructionSet set, bool pairs) {
  constexpr std::int64_t count = 2'000'000;
  const auto kernel = pairs                                ? multiply_add_pairs
                      : set == InstructionSet::avx512_bf16 ? multiply_add_avx512
                      : set == InstructionSet::avx2        ? multiply_add_avx2
                                                           : multiply_add_generic;
  const int lanes = pairs                                ? 32
                    : set == InstructionSet::avx512_bf16 ? 16
                    : set == InstructionSet::avx2        ? 8
                                                         : 4;
  volatile float sink = 0;
  const double seconds = best_seconds([&] {
#pragma omp parallel num_threads(threads)
    sink = kernel(count);
  });
  return 2.0 * lanes * kChains * count * threads / seconds / 1e9;
}

}  // namespace trireme::bench
