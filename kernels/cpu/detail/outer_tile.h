#pragma once

#include "kernels/cpu/detail/simd.h"

namespace trireme::kernels::cpu::simd {

/// out[row, :] = (out[row, :] if `add`) + Σ_i weights[row, i] · values[i, :] for `rows` rows and
/// `vectors` vectors of columns, i below count.
template <int lanes, int rows, int vectors, typename T>
TRIREME_INLINE void outer_tile(const float* weights, std::int64_t weights_stride, const T* values,
                               std::int64_t values_stride, std::int64_t count, float* out,
                               std::int64_t out_stride, bool add) {
  Floats<lanes> sums[rows][vectors] = {};
  for (std::int64_t i = 0; i < count; ++i) {
    Floats<lanes> row_of_values[vectors];
#pragma GCC unroll 16
    for (int at = 0; at < vectors; ++at) {
      row_of_values[at] = load<lanes>(values + i * values_stride + at * lanes);
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      const float weight = weights[row * weights_stride + i];
#pragma GCC unroll 16
      for (int at = 0; at < vectors; ++at) sums[row][at] += row_of_values[at] * weight;
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 16
    for (int at = 0; at < vectors; ++at) {
      float* to = out + row * out_stride + at * lanes;
      store<lanes>(add ? load<lanes>(to) + sums[row][at] : sums[row][at], to);
    }
  }
}

/// A matrix whose first `columns` columns are read or written, rows apart by the stride.
template <typename T>
struct Matrix {
  T* data;
  std::int64_t stride;
  std::int64_t columns;
};

template <int lanes, int rows, typename T>
TRIREME_INLINE void outer_rows(const float* weights, std::int64_t weights_stride,
                               const Matrix<const T>& values, std::int64_t count,
                               const Matrix<float>& out, bool add) {
  constexpr int vectors = lanes == 16 ? 4 : 2;
  std::int64_t column = 0;
  for (; column + vectors * lanes <= values.columns; column += vectors * lanes) {
    outer_tile<lanes, rows, vectors>(weights, weights_stride, values.data + column, values.stride,
                                     count, out.data + column, out.stride, add);
  }
  for (; column + lanes <= values.columns; column += lanes) {
    outer_tile<lanes, rows, 1>(weights, weights_stride, values.data + column, values.stride, count,
                               out.data + column, out.stride, add);
  }
  for (; column < values.columns; ++column) {
    for (int row = 0; row < rows; ++row) {
      float sum = add ? out.data[row * out.stride + column] : 0.0f;
      for (std::int64_t i = 0; i < count; ++i) {
        sum += weights[row * weights_stride + i] *
               static_cast<float>(values.data[i * values.stride + column]);
      }
      out.data[row * out.stride + column] = sum;
    }
  }
}

/// outer_tile for any number of rows and columns. weights [num_rows, count], values [count,
/// columns], out [num_rows, columns].
template <int lanes, typename T>
TRIREME_INLINE void outer_product(const float* weights, std::int64_t weights_stride,
                                  std::int64_t num_rows, const Matrix<const T>& values,
                                  std::int64_t count, Matrix<float> out, bool add) {
  const auto step = [&](std::int64_t rows) {
    weights += rows * weights_stride;
    out.data += rows * out.stride;
    num_rows -= rows;
  };
  for (; num_rows >= 4; step(4)) {
    outer_rows<lanes, 4>(weights, weights_stride, values, count, out, add);
  }
  if (num_rows == 3) {
    outer_rows<lanes, 3>(weights, weights_stride, values, count, out, add);
    return;
  }
  for (; num_rows >= 1; step(1)) {
    outer_rows<lanes, 1>(weights, weights_stride, values, count, out, add);
  }
}

template <int lanes, int distance, int... lane>
TRIREME_INLINE void swap_halves(Floats<lanes>& a, Floats<lanes>& b,
                                std::integer_sequence<int, lane...>) {
  const Floats<lanes> first =
      __builtin_shufflevector(a, b, half_source<lanes, distance>(lane, 0)...);
  b = __builtin_shufflevector(a, b, half_source<lanes, distance>(lane, 1)...);
  a = first;
}

/// Transposes a square of lanes x lanes.
template <int lanes, int distance = lanes / 2>
TRIREME_INLINE void transpose(Floats<lanes> (&square)[lanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) {
    if (i / distance % 2 == 0) {
      swap_halves<lanes, distance>(square[i], square[i + distance],
                                   std::make_integer_sequence<int, lanes>());
    }
  }
  if constexpr (distance > 1) transpose<lanes, distance / 2>(square);
}

}  // namespace trireme::kernels::cpu::simd
