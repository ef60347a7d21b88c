#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "base/dtype.h"

/// Vectors of `lanes` floats as the compiler's vector types. The same source serves every
/// instruction set: the helpers carry no target of their own and are inlined into an entry function
/// that does. Sums over lanes are taken in one fixed order, so a result depends on the number of
/// lanes alone.
namespace trireme::kernels::cpu::simd {

#define TRIREME_INLINE [[gnu::always_inline]] inline
#define TRIREME_AVX2 [[gnu::target("avx2,fma,f16c")]]
#define TRIREME_AVX512 \
  [[gnu::target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]]

template <int lanes>
struct Vectors {
  typedef float Floats __attribute__((vector_size(lanes * 4)));
  typedef std::uint32_t Words __attribute__((vector_size(lanes * 4)));
  typedef std::int32_t Ints __attribute__((vector_size(lanes * 4)));
  typedef std::uint16_t Halves __attribute__((vector_size(lanes * 2)));
};
template <int lanes>
using Floats = typename Vectors<lanes>::Floats;

/// Reinterprets the bits.
template <typename To, typename From>
TRIREME_INLINE To cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <int lanes>
TRIREME_INLINE Floats<lanes> load(const float* from) {
  Floats<lanes> result;
  std::memcpy(&result, from, sizeof(result));
  return result;
}

/// The bits of 16-bit elements, one to a lane. Written out lane by lane the compiler makes one
/// widening load of it; of __builtin_convertvector it makes five instructions.
template <int lanes, typename T, int... lane>
TRIREME_INLINE typename Vectors<lanes>::Words load_bits(const T* from,
                                                        std::integer_sequence<int, lane...>) {
  return typename Vectors<lanes>::Words{from[lane].bits...};
}

template <int lanes>
TRIREME_INLINE Floats<lanes> load(const bfloat16* from) {
  const auto words = load_bits<lanes>(from, std::make_integer_sequence<int, lanes>());
  return cast<Floats<lanes>>(words << 16);
}

template <int lanes>
TRIREME_INLINE Floats<lanes> load(const float16* from) {
  using Words = typename Vectors<lanes>::Words;
  const Words words = load_bits<lanes>(from, std::make_integer_sequence<int, lanes>());
  const Words magnitude = words & 0x7fffU;
  // The product moves the exponent's bias and makes subnormals normal; infinity and NaN keep
  // theirs.
  const Words finite = cast<Words>(cast<Floats<lanes>>(magnitude << 13) * 0x1p112f);
  const Words special = magnitude >= 0x7c00U ? Words{} + 0x7f800000U : Words{};
  return cast<Floats<lanes>>(finite | special | ((words & 0x8000U) << 16));
}

/// The first `count` < lanes elements, zeros behind.
template <int lanes, typename T>
TRIREME_INLINE Floats<lanes> load_part(const T* from, std::int64_t count) {
  T padded[lanes] = {};
  std::memcpy(padded, from, static_cast<std::size_t>(count) * sizeof(T));
  return load<lanes>(padded);
}

template <int lanes>
TRIREME_INLINE void store(Floats<lanes> from, float* to) {
  std::memcpy(to, &from, sizeof(from));
}

/// Rounds to bfloat16, as its constructor does.
template <int lanes>
TRIREME_INLINE void store(Floats<lanes> from, bfloat16* to) {
  using Words = typename Vectors<lanes>::Words;
  const Words words = cast<Words>(from);
  const Words rounded = (words + 0x7fffU + ((words >> 16) & 1U)) >> 16;
  const Words quiet = (words >> 16) | 0x40U;
  const Words bits = (words & 0x7fffffffU) > 0x7f800000U ? quiet : rounded;
  const auto halves = __builtin_convertvector(bits, typename Vectors<lanes>::Halves);
  std::memcpy(static_cast<void*>(to), &halves, sizeof(halves));
}

template <int lanes>
TRIREME_INLINE void store_part(Floats<lanes> from, float* to, std::int64_t count) {
  std::memcpy(to, &from, static_cast<std::size_t>(count) * sizeof(float));
}

/// Of two vectors cut into groups of 2 · distance lanes: which lane of both together goes to lane
/// `at` of the vector that holds the first (half 0) or the second halves of the groups, those of a
/// before b's.
template <int lanes, int distance>
constexpr int half_source(int at, int half) {
  const int group = at / (2 * distance) * 2 * distance;
  const int vector = at / distance % 2 * lanes;
  return vector + group + half * distance + at % distance;
}

/// Adds the lanes that are `distance` apart: of each 2 · distance lanes, the first `distance`
/// results are those of a, the others those of b.
template <int lanes, int distance, int... lane>
TRIREME_INLINE Floats<lanes> add_halves(Floats<lanes> a, Floats<lanes> b,
                                        std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, half_source<lanes, distance>(lane, 0)...) +
         __builtin_shufflevector(a, b, half_source<lanes, distance>(lane, 1)...);
}

/// The sums over the lanes of `count` vectors (a power of two up to lanes), left in vectors[0]:
/// that of vectors[i] in lane i · (lanes / count).
template <int lanes, int count, int distance = lanes / 2>
TRIREME_INLINE void sum_lanes(Floats<lanes>* vectors) {
  constexpr auto sequence = std::make_integer_sequence<int, lanes>();
  constexpr int half = count > 1 ? count / 2 : 1;
#pragma GCC unroll 16
  for (int i = 0; i < half; ++i) {
    vectors[i] = add_halves<lanes, distance>(vectors[i], vectors[i + count / 2], sequence);
  }
  if constexpr (distance > 1) sum_lanes<lanes, half, distance / 2>(vectors);
}

template <int lanes>
TRIREME_INLINE float sum_lanes(Floats<lanes> vector) {
  sum_lanes<lanes, 1>(&vector);
  return vector[0];
}

}  // namespace trireme::kernels::cpu::simd
