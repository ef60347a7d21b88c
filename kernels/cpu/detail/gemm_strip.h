#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace trireme::kernels::cpu {

/// A strip of a product, done by one thread: some rows of the weight against some rows of X.
struct GemmStrip {
  const void* x = nullptr;  ///< [num_tokens, k]: float, or bfloat16 for the bf16 kernel
  std::int64_t x_stride = 0;
  std::int64_t x_piece_stride = 0;  ///< elements from one piece of K to the next
  const void* weight = nullptr;     ///< [num_rows, k] contiguous
  DType weight_dtype = DType::bfloat16;
  const float* bias = nullptr;  ///< [num_rows] or null
  float* y = nullptr;           ///< [num_tokens, num_rows]
  std::int64_t y_stride = 0;
  std::int64_t num_tokens = 0, num_rows = 0, k = 0;
};
using GemmKernel = void (*)(const GemmStrip& strip);

/// K is summed in pieces that its length alone determines: so many elements each, the last fewer. A
/// tile's operands of one piece fit the L1 cache.
constexpr std::int64_t piece_of(std::int64_t k, std::int64_t longest) {
  const std::int64_t count = (k + longest - 1) / longest;
  return count <= 1 ? k : ((k + count - 1) / count + 63) / 64 * 64;
}
inline constexpr std::int64_t kFloatPiece = 768;
inline constexpr std::int64_t kBf16Piece = 1024;

struct Piece {
  std::int64_t index, begin, k, usual_k;
  bool is_last;
};
inline Piece first_piece(std::int64_t k, std::int64_t longest) {
  const std::int64_t usual_k = piece_of(k, longest);
  return {0, 0, usual_k, usual_k, usual_k == k};
}
inline Piece next_piece(const Piece& last, std::int64_t k) {
  const std::int64_t begin = last.begin + last.k;
  const std::int64_t length = k - begin < last.usual_k ? k - begin : last.usual_k;
  return {last.index + 1, begin, length, last.usual_k, begin + length == k};
}

/// Rows that are done piece by piece together: with many tokens all, so that a piece of X stays in
/// the cache; with few a tile's, so that the weights are read as they lie.
inline constexpr std::int64_t kTokensInCache = 9;
inline std::int64_t rows_at_once(const GemmStrip& strip, std::int64_t rows_of_tile) {
  return strip.num_tokens < kTokensInCache ? rows_of_tile : strip.num_rows;
}

/// Products exact in float32 of any weight type; each sum is the same whatever the strip's extents.
void gemm_float_generic(const GemmStrip& strip);
void gemm_float_avx2(const GemmStrip& strip);
void gemm_float_avx512(const GemmStrip& strip);

/// Products of pairs of bfloat16 (avx512_bf16). Rows of X hold bfloat16, padded with zeros to a
/// multiple of kBf16Step elements.
inline constexpr std::int64_t kBf16Step = 32;
void gemm_bf16_avx512(const GemmStrip& strip);
/// The same for many tokens: reorders the weights into panels first, and then needs no sums over
/// lanes.
void gemm_bf16_panel_avx512(const GemmStrip& strip);

/// Rounds a row to bfloat16 and pads it with zeros to a multiple of kBf16Step elements.
void round_row_avx512(const float* x, std::int64_t size, bfloat16* to);

}  // namespace trireme::kernels::cpu
