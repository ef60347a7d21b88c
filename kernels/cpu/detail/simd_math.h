#pragma once

#include "kernels/cpu/detail/simd.h"

namespace trireme::kernels::cpu::simd {

template <int lanes>
TRIREME_INLINE Floats<lanes> max(Floats<lanes> a, Floats<lanes> b) {
  return a > b ? a : b;
}

/// The lanes moved down by `distance`, round.
template <int lanes, int distance, int... lane>
TRIREME_INLINE Floats<lanes> rotate_lanes(Floats<lanes> vector,
                                          std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(vector, vector, ((lane + distance) % lanes)...);
}

template <int lanes, int distance = lanes / 2>
TRIREME_INLINE float max_lane(Floats<lanes> vector) {
  vector = max<lanes>(
      vector, rotate_lanes<lanes, distance>(vector, std::make_integer_sequence<int, lanes>()));
  if constexpr (distance > 1) {
    return max_lane<lanes, distance / 2>(vector);
  } else {
    return vector[0];
  }
}

/// e to the x: within 2 units in the last place; 0 below -87.3, and no more than e^88.3.
template <int lanes>
TRIREME_INLINE Floats<lanes> exp(Floats<lanes> x) {
  using Ints = typename Vectors<lanes>::Ints;
  constexpr float kLowest = -87.33654f, kHighest = 88.37626f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const auto is_zero = x < kLowest;
  x = x < kLowest ? Floats<lanes>{} + kLowest : x;
  x = x > kHighest ? Floats<lanes>{} + kHighest : x;
  // x = n ln 2 + r, ln 2 in two parts of which the first times n is exact; |r| <= 0.35.
  const Floats<lanes> shifted = x * 1.44269504f + kRound;
  const Floats<lanes> n = shifted - kRound;
  Floats<lanes> r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  // The Taylor polynomial of e^r to r^7 leaves 1e-8 of it.
  Floats<lanes> sum = r * (1.0f / 5040) + (1.0f / 720);
  sum = sum * r + (1.0f / 120);
  sum = sum * r + (1.0f / 24);
  sum = sum * r + (1.0f / 6);
  sum = sum * r + 0.5f;
  sum = sum * (r * r) + r + 1.0f;
  const Ints exponent = cast<Ints>(shifted) << 23;  // of 2^n; the rest of `shifted` is shifted out
  const Floats<lanes> result = cast<Floats<lanes>>(cast<Ints>(sum) + exponent);
  return is_zero ? Floats<lanes>{} : result;
}

}  // namespace trireme::kernels::cpu::simd
