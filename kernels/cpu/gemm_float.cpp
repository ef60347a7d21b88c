#include <algorithm>

#include "kernels/cpu/detail/dot_tile.h"
#include "kernels/cpu/detail/gemm_strip.h"

namespace trireme::kernels::cpu {
namespace {

using simd::TileTarget;

// Rows of a tile; and the longest piece of K: a tile's rows and tokens of that length fit the L1
// cache.
constexpr int kRows = 4;
constexpr std::int64_t kFloatPiece = 768;
// From this many tokens on the rows of a tile are widened to float32 once, not once per tile of
// tokens. Where widening is one instruction a vector and registers are many, it pays late.
template <int lanes>
constexpr std::int64_t kTokensToWiden = lanes == 16 ? 33 : 4;

/// A tile's rows against all tokens, `tokens` at a time and then what is left.
template <int lanes, int rows, int tokens, typename T>
TRIREME_INLINE void all_tokens(const T* w, std::int64_t w_stride, const float* x,
                               const GemmStrip& strip, std::int64_t k, simd::Fetch fetch,
                               TileTarget to) {
  std::int64_t left = strip.num_tokens;
  for (; left >= tokens; left -= tokens) {
    simd::dot_tile<lanes, rows, tokens>(w, w_stride, x, strip.x_stride, k, fetch, to);
    x += tokens * strip.x_stride;
    to.y += tokens * to.stride;
    fetch.next_tile();
  }
  if constexpr (tokens > 3) {
    if (left == 3) {
      return simd::dot_tile<lanes, rows, 3>(w, w_stride, x, strip.x_stride, k, fetch, to);
    }
  }
  if constexpr (tokens > 2) {
    if (left == 2) {
      return simd::dot_tile<lanes, rows, 2>(w, w_stride, x, strip.x_stride, k, fetch, to);
    }
  }
  if (left == 1) simd::dot_tile<lanes, rows, 1>(w, w_stride, x, strip.x_stride, k, fetch, to);
}

template <int lanes, int rows, typename T>
TRIREME_INLINE void widen(const T* w, std::int64_t w_stride, std::int64_t k, float* to,
                          std::int64_t to_stride) {
  for (int row = 0; row < rows; ++row) {
    const T* from = w + row * w_stride;
    std::int64_t i = 0;
    for (; i + lanes <= k; i += lanes) {
      simd::store<lanes>(simd::load<lanes>(from + i), to + row * to_stride + i);
    }
    for (; i < k; ++i) to[row * to_stride + i] = static_cast<float>(from[i]);
  }
}

/// One tile of rows over one piece of K, which begins at `begin`.
template <int lanes, int rows, int tokens, typename T>
TRIREME_INLINE void one_tile(const GemmStrip& strip, std::int64_t row, const Piece& piece) {
  const T* w = static_cast<const T*>(strip.weight) + row * strip.k + piece.begin;
  const float* x = static_cast<const float*>(strip.x) + piece.index * strip.x_piece_stride;
  const TileTarget to{strip.y + row, strip.y_stride,
                      piece.is_last && strip.bias != nullptr ? strip.bias + row : nullptr,
                      piece.index == 0};
  const auto fetch = simd::fetch_behind<rows, tokens>(w, strip.k, strip.num_tokens);
  if (sizeof(T) < sizeof(float) && strip.num_tokens >= kTokensToWiden<lanes>) {
    alignas(64) float widened[rows * kFloatPiece];
    widen<lanes, rows>(w, strip.k, piece.k, widened, piece.k);
    all_tokens<lanes, rows, tokens>(widened, piece.k, x, strip, piece.k, fetch, to);
  } else {
    all_tokens<lanes, rows, tokens>(w, strip.k, x, strip, piece.k, fetch, to);
  }
}

template <int lanes, int tokens, typename T>
TRIREME_INLINE void run_rows(const GemmStrip& strip, std::int64_t begin, std::int64_t end,
                             const Piece& piece) {
  for (; begin + kRows <= end; begin += kRows) {
    one_tile<lanes, kRows, tokens, T>(strip, begin, piece);
  }
  for (; begin < end; ++begin) one_tile<lanes, 1, 1, T>(strip, begin, piece);
}

template <int lanes, int tokens, typename T>
TRIREME_INLINE void run_typed(const GemmStrip& strip) {
  const std::int64_t rows = rows_at_once(strip, kRows);
  for (std::int64_t begin = 0; begin < strip.num_rows; begin += rows) {
    const std::int64_t end = std::min(begin + rows, strip.num_rows);
    for (Piece piece = first_piece(strip.k, kFloatPiece);; piece = next_piece(piece, strip.k)) {
      run_rows<lanes, tokens, T>(strip, begin, end, piece);
      if (piece.is_last) break;
    }
  }
}

/// `tokens`: as many as leave the tile's sums and operands in registers.
template <int lanes, int tokens>
TRIREME_INLINE void run_strip(const GemmStrip& strip) {
  if (strip.weight_dtype == DType::bfloat16) {
    run_typed<lanes, tokens, bfloat16>(strip);
  } else if (strip.weight_dtype == DType::float16) {
    run_typed<lanes, tokens, float16>(strip);
  } else {
    run_typed<lanes, tokens, float>(strip);
  }
}

}  // namespace

void gemm_float_generic(const GemmStrip& strip) { run_strip<4, 2>(strip); }
TRIREME_AVX2 void gemm_float_avx2(const GemmStrip& strip) { run_strip<8, 3>(strip); }
TRIREME_AVX512 void gemm_float_avx512(const GemmStrip& strip) { run_strip<16, 4>(strip); }

}  // namespace trireme::kernels::cpu
