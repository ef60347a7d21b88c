#include <immintrin.h>

#include <algorithm>

#include "kernels/cpu/detail/gemm_strip.h"
#include "kernels/cpu/detail/outer_tile.h"

namespace trireme::kernels::cpu {
namespace {

constexpr int kLanes = 16;
constexpr int kTokens = 4;   // of a tile
constexpr int kVectors = 4;  // of a panel's rows
constexpr std::int64_t kPanelRows = kVectors * kLanes;

/// Sixteen rows of 32 elements as sixteen vectors, each of one pair of all rows. Fetches the
/// sixteen rows behind these.
template <bool all_rows>
TRIREME_AVX512 TRIREME_INLINE void pack_square(const bfloat16* w, std::int64_t w_stride,
                                               std::int64_t num_rows, __mmask32 mask,
                                               float* panel) {
  simd::Floats<kLanes> square[kLanes];
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row) {
    const bfloat16* at = w + row * w_stride;
    __builtin_prefetch(at + kLanes * w_stride);
    const __m512i pairs =
        all_rows || row < num_rows ? _mm512_maskz_loadu_epi16(mask, at) : _mm512_setzero_si512();
    square[row] = reinterpret_cast<simd::Floats<kLanes>>(pairs);
  }
  simd::transpose<kLanes>(square);
#pragma GCC unroll 16
  for (int pair = 0; pair < kLanes; ++pair) {
    simd::store<kLanes>(square[pair], panel + pair * kPanelRows);
  }
}

template <bool all_rows>
TRIREME_AVX512 void pack_rows(const bfloat16* w, std::int64_t w_stride, std::int64_t num_rows,
                              std::int64_t k, float* panel) {
  std::int64_t i = 0;
  for (; i + kBf16Step <= k; i += kBf16Step) {
    pack_square<all_rows>(w + i, w_stride, num_rows, ~__mmask32{0}, panel + i / 2 * kPanelRows);
  }
  if (i < k) {
    const auto mask = static_cast<__mmask32>((std::uint32_t{1} << (k - i)) - 1);
    pack_square<all_rows>(w + i, w_stride, num_rows, mask, panel + i / 2 * kPanelRows);
  }
}

/// panel [k / 2, kPanelRows] pairs of bfloat16, zeros where there are no rows or elements.
void pack_panel(const bfloat16* w, std::int64_t w_stride, std::int64_t num_rows, std::int64_t k,
                float* panel) {
  std::int64_t row = 0;
  for (; row + kLanes <= num_rows; row += kLanes) {
    pack_rows<true>(w + row * w_stride, w_stride, kLanes, k, panel + row);
  }
  if (row < num_rows) {
    pack_rows<false>(w + row * w_stride, w_stride, num_rows - row, k, panel + row);
  }
}

struct PanelTarget {
  float* y;
  std::int64_t stride;
  const float* bias;
  bool first;
  std::int64_t num_rows;
};

TRIREME_AVX512 TRIREME_INLINE void put_vector(const PanelTarget& to, std::int64_t token,
                                              std::int64_t row, __m512 sums) {
  const std::int64_t count = std::min<std::int64_t>(to.num_rows - row, kLanes);
  const auto mask = static_cast<__mmask16>((std::uint32_t{1} << count) - 1);
  float* y = to.y + token * to.stride + row;
  if (!to.first) sums = sums + _mm512_maskz_loadu_ps(mask, y);
  if (to.bias != nullptr) sums = sums + _mm512_maskz_loadu_ps(mask, to.bias + row);
  _mm512_mask_storeu_ps(y, mask, sums);
}

/// `tokens` rows of x against `vectors` vectors of the panel's rows.
template <int tokens, int vectors>
TRIREME_AVX512 TRIREME_INLINE void panel_tile(const float* panel, const bfloat16* x,
                                              std::int64_t x_stride, std::int64_t k,
                                              const PanelTarget& to) {
  __m512 sums[tokens][vectors] = {};
  for (std::int64_t pair = 0; pair < (k + 1) / 2; ++pair) {
    __m512bh weights[vectors];
#pragma GCC unroll 16
    for (int at = 0; at < vectors; ++at) {
      weights[at] =
          reinterpret_cast<__m512bh>(_mm512_loadu_ps(panel + pair * kPanelRows + at * kLanes));
    }
#pragma GCC unroll 16
    for (int token = 0; token < tokens; ++token) {
      std::int32_t bits;
      std::memcpy(&bits, x + token * x_stride + 2 * pair, sizeof(bits));
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
#pragma GCC unroll 16
      for (int at = 0; at < vectors; ++at) {
        sums[token][at] = _mm512_dpbf16_ps(sums[token][at], weights[at], value);
      }
    }
  }
#pragma GCC unroll 16
  for (int token = 0; token < tokens; ++token) {
#pragma GCC unroll 16
    for (int at = 0; at < vectors; ++at) put_vector(to, token, at * kLanes, sums[token][at]);
  }
}

template <int vectors>
TRIREME_AVX512 void all_tokens(const float* panel, const bfloat16* x, const GemmStrip& strip,
                               std::int64_t k, PanelTarget to) {
  std::int64_t left = strip.num_tokens;
  const auto step = [&](std::int64_t tokens) {
    x += tokens * strip.x_stride;
    to.y += tokens * to.stride;
    left -= tokens;
  };
  for (; left >= kTokens; step(kTokens)) {
    panel_tile<kTokens, vectors>(panel, x, strip.x_stride, k, to);
  }
  for (; left >= 2; step(2)) panel_tile<2, vectors>(panel, x, strip.x_stride, k, to);
  if (left == 1) panel_tile<1, vectors>(panel, x, strip.x_stride, k, to);
}

TRIREME_AVX512 void run_panel(const float* panel, const bfloat16* x, const GemmStrip& strip,
                              std::int64_t k, const PanelTarget& to) {
  switch ((to.num_rows + kLanes - 1) / kLanes) {
    case 1:
      return all_tokens<1>(panel, x, strip, k, to);
    case 2:
      return all_tokens<2>(panel, x, strip, k, to);
    case 3:
      return all_tokens<3>(panel, x, strip, k, to);
    default:
      return all_tokens<4>(panel, x, strip, k, to);
  }
}

}  // namespace

TRIREME_AVX512 void gemm_bf16_panel_avx512(const GemmStrip& strip) {
  alignas(64) float panel[kBf16Piece / 2 * kPanelRows];
  for (std::int64_t row = 0; row < strip.num_rows; row += kPanelRows) {
    const std::int64_t num_rows = std::min(strip.num_rows - row, kPanelRows);
    const bfloat16* w = static_cast<const bfloat16*>(strip.weight) + row * strip.k;
    const auto* x = static_cast<const bfloat16*>(strip.x);
    for (Piece piece = first_piece(strip.k, kBf16Piece);; piece = next_piece(piece, strip.k)) {
      const bool has_bias = piece.is_last && strip.bias != nullptr;
      pack_panel(w + piece.begin, strip.k, num_rows, piece.k, panel);
      run_panel(panel, x + piece.index * strip.x_piece_stride, strip, piece.k,
                {strip.y + row, strip.y_stride, has_bias ? strip.bias + row : nullptr,
                 piece.index == 0, num_rows});
      if (piece.is_last) break;
    }
  }
}

}  // namespace trireme::kernels::cpu
