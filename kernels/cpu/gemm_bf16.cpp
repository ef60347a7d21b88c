#include <immintrin.h>

#include <algorithm>

#include "kernels/cpu/detail/dot_tile.h"
#include "kernels/cpu/detail/gemm_strip.h"

namespace trireme::kernels::cpu {
namespace {

using simd::TileTarget;

constexpr int kLanes = 16;
constexpr int kRows = 4;
constexpr int kTokens = 4;

TRIREME_AVX512 TRIREME_INLINE __m512bh load_pairs(const bfloat16* from) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(from));
}

TRIREME_AVX512 TRIREME_INLINE __m512bh load_pairs(const bfloat16* from, __mmask32 mask) {
  return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(mask, from));
}

template <int rows, int tokens>
TRIREME_AVX512 TRIREME_INLINE void add_products(simd::Floats<kLanes> (&sums)[tokens][rows],
                                                const __m512bh (&weights)[rows], const bfloat16* x,
                                                std::int64_t x_stride) {
#pragma GCC unroll 16
  for (int token = 0; token < tokens; ++token) {
    const __m512bh value = load_pairs(x + token * x_stride);
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      sums[token][row] = _mm512_dpbf16_ps(sums[token][row], weights[row], value);
    }
  }
}

/// simd::dot_tile on pairs of bfloat16. x is padded with zeros, w is not.
template <int rows, int tokens>
TRIREME_AVX512 TRIREME_INLINE void pair_tile(const bfloat16* w, std::int64_t w_stride,
                                             const bfloat16* x, std::int64_t x_stride,
                                             std::int64_t k, const simd::Fetch& fetch,
                                             const TileTarget& to) {
  simd::Floats<kLanes> sums[tokens][rows] = {};
  __m512bh weights[rows];
  std::int64_t i = 0;
  for (; i + kBf16Step <= k; i += kBf16Step) {
    fetch.at<rows>(i);
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      weights[row] = load_pairs(w + row * w_stride + i);
    }
    add_products<rows, tokens>(sums, weights, x + i, x_stride);
  }
  if (i < k) {
    const auto mask = static_cast<__mmask32>((std::uint32_t{1} << (k - i)) - 1);
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) weights[row] = load_pairs(w + row * w_stride + i, mask);
    add_products<rows, tokens>(sums, weights, x + i, x_stride);
  }
  simd::put_tile<kLanes, rows, tokens>(sums, to);
}

template <int rows>
TRIREME_AVX512 TRIREME_INLINE void all_tokens(const bfloat16* w, const bfloat16* x,
                                              const GemmStrip& strip, std::int64_t k,
                                              simd::Fetch fetch, TileTarget to) {
  std::int64_t left = strip.num_tokens;
  for (; left >= kTokens; left -= kTokens) {
    pair_tile<rows, kTokens>(w, strip.k, x, strip.x_stride, k, fetch, to);
    x += kTokens * strip.x_stride;
    to.y += kTokens * to.stride;
    fetch.next_tile();
  }
  if (left == 3) return pair_tile<rows, 3>(w, strip.k, x, strip.x_stride, k, fetch, to);
  if (left == 2) return pair_tile<rows, 2>(w, strip.k, x, strip.x_stride, k, fetch, to);
  if (left == 1) pair_tile<rows, 1>(w, strip.k, x, strip.x_stride, k, fetch, to);
}

template <int rows>
TRIREME_AVX512 void one_tile(const GemmStrip& strip, std::int64_t row, const Piece& piece) {
  const bfloat16* w = static_cast<const bfloat16*>(strip.weight) + row * strip.k + piece.begin;
  const bfloat16* x = static_cast<const bfloat16*>(strip.x) + piece.index * strip.x_piece_stride;
  const TileTarget to{strip.y + row, strip.y_stride,
                      piece.is_last && strip.bias != nullptr ? strip.bias + row : nullptr,
                      piece.index == 0};
  const auto fetch = simd::fetch_behind<rows, kTokens>(w, strip.k, strip.num_tokens);
  all_tokens<rows>(w, x, strip, piece.k, fetch, to);
}

}  // namespace

TRIREME_AVX512 void gemm_bf16_avx512(const GemmStrip& strip) {
  const std::int64_t rows = rows_at_once(strip, kRows);
  for (std::int64_t begin = 0; begin < strip.num_rows; begin += rows) {
    const std::int64_t end = std::min(begin + rows, strip.num_rows);
    for (Piece piece = first_piece(strip.k, kBf16Piece);; piece = next_piece(piece, strip.k)) {
      std::int64_t row = begin;
      for (; row + kRows <= end; row += kRows) one_tile<kRows>(strip, row, piece);
      for (; row < end; ++row) one_tile<1>(strip, row, piece);
      if (piece.is_last) break;
    }
  }
}

TRIREME_AVX512 void round_row_avx512(const float* x, std::int64_t size, bfloat16* to) {
  std::int64_t i = 0;
  for (; i < size; i += kLanes) {
    const std::int64_t count = std::min<std::int64_t>(kLanes, size - i);
    const auto mask = static_cast<__mmask16>((std::uint32_t{1} << count) - 1);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), reinterpret_cast<__m256i>(rounded));
  }
  // The last vector written may end 16 elements before the padding does.
  for (; i % kBf16Step != 0; ++i) to[i] = bfloat16();
}

}  // namespace trireme::kernels::cpu
