#pragma once

#include "kernels/cpu/detail/simd.h"

namespace trireme::kernels::cpu::simd {

/// Where a tile's sums go: y[token · stride + row], added to what stands there unless `first`, plus
/// the bias if there is one.
struct TileTarget {
  float* y;
  std::int64_t stride;
  const float* bias;
  bool first;
};

/// Puts the sums of `rows` rows for a token, which stand in lanes first, first + step, ...
template <int lanes, int rows, int first, int step, int... row>
TRIREME_INLINE void put_sums(Floats<lanes> from, const TileTarget& to, std::int64_t token,
                             std::integer_sequence<int, row...>) {
  float* y = to.y + token * to.stride;
  if constexpr (rows == 1) {
    const float sum = to.first ? from[first] : from[first] + *y;
    *y = to.bias == nullptr ? sum : sum + *to.bias;
  } else {
    Floats<rows> sums = __builtin_shufflevector(from, from, (first + row * step)...);
    if (!to.first) sums += load<rows>(y);
    if (to.bias != nullptr) sums += load<rows>(to.bias);
    store<rows>(sums, y);
  }
}

template <int lanes, int rows, int... token>
TRIREME_INLINE void put_square(Floats<lanes> sums, const TileTarget& to,
                               std::integer_sequence<int, token...>) {
  constexpr auto sequence = std::make_integer_sequence<int, rows>();
  (put_sums<lanes, rows, token * rows, 1>(sums, to, token, sequence), ...);
}

/// Sums the accumulators of `rows` x `tokens` and puts them.
template <int lanes, int rows, int tokens>
TRIREME_INLINE void put_tile(Floats<lanes> (&sums)[tokens][rows], const TileTarget& to) {
  if constexpr (rows * tokens == lanes) {
    sum_lanes<lanes, lanes>(&sums[0][0]);
    put_square<lanes, rows>(sums[0][0], to, std::make_integer_sequence<int, tokens>());
  } else {
#pragma GCC unroll 16
    for (int token = 0; token < tokens; ++token) {
      sum_lanes<lanes, rows>(sums[token]);
      put_sums<lanes, rows, 0, lanes / rows>(sums[token][0], to, token,
                                             std::make_integer_sequence<int, rows>());
    }
  }
}

/// The rows of w that are needed next, fetched into the cache while tiles are computed: all of
/// them, or one row a tile where a tile's rows meet many tokens, since fetches that come faster
/// than memory answers hold up the loads.
struct Fetch {
  const char* from;
  std::int64_t row_bytes;
  std::int64_t element_bytes;
  int rows_left;
  bool each_row;

  template <int rows>
  TRIREME_INLINE void at(std::int64_t element) const {
    const char* line = from + element * element_bytes;
    __builtin_prefetch(line);
    if (each_row) {
#pragma GCC unroll 16
      for (int row = 1; row < rows; ++row) __builtin_prefetch(line + row * row_bytes);
    }
  }
  TRIREME_INLINE void next_tile() {
    if (!each_row && rows_left > 1) {
      --rows_left;
      from += row_bytes;
    }
    each_row = false;
  }
};

/// The `rows` rows behind those at w, while those meet `num_tokens` tokens, so many a tile.
template <int rows, int tokens, typename T>
TRIREME_INLINE Fetch fetch_behind(const T* w, std::int64_t w_stride, std::int64_t num_tokens) {
  constexpr std::int64_t size = sizeof(T);
  return {reinterpret_cast<const char*>(w + rows * w_stride), w_stride * size, size, rows,
          num_tokens < rows * tokens};
}

/// The dot products of `rows` rows of w with `tokens` rows of x over k elements.
template <int lanes, int rows, int tokens, typename T, typename Ahead>
TRIREME_INLINE void dot_tile(const T* w, std::int64_t w_stride, const float* x,
                             std::int64_t x_stride, std::int64_t k, const Ahead& fetch,
                             const TileTarget& to) {
  Floats<lanes> sums[tokens][rows] = {};
  std::int64_t i = 0;
  for (; i + lanes <= k; i += lanes) {
    fetch.template at<rows>(i);
    Floats<lanes> weights[rows];
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      weights[row] = load<lanes>(w + row * w_stride + i);
    }
#pragma GCC unroll 16
    for (int token = 0; token < tokens; ++token) {
      const Floats<lanes> value = load<lanes>(x + token * x_stride + i);
#pragma GCC unroll 16
      for (int row = 0; row < rows; ++row) sums[token][row] += weights[row] * value;
    }
  }
  if (i < k) {
#pragma GCC unroll 16
    for (int token = 0; token < tokens; ++token) {
      const Floats<lanes> value = load_part<lanes>(x + token * x_stride + i, k - i);
#pragma GCC unroll 16
      for (int row = 0; row < rows; ++row) {
        sums[token][row] += load_part<lanes>(w + row * w_stride + i, k - i) * value;
      }
    }
  }
  put_tile<lanes, rows, tokens>(sums, to);
}

}  // namespace trireme::kernels::cpu::simd
