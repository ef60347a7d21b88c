#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/mix.h"
#include "kernels/cuda_stream.h"

/// Random values in the place of weights that no file holds. A value is a pure function of a key
/// and of its place in the whole tensor, with the same bits in every part and on every backend.
namespace trireme::kernels {

/// The part of a tensor that is filled, by places in row-major order: runs of `length`, the first
/// at `offset`, each `stride` after the one before.
struct FillRuns {
  std::int64_t offset = 0, length = 1, stride = 1;

  constexpr std::int64_t place(std::int64_t nth) const {
    return nth < length ? offset + nth : offset + nth / length * stride + nth % length;
  }
};

constexpr int num_ones(std::uint64_t bits) {
  bits -= (bits >> 1) & 0x5555555555555555U;
  bits = (bits & 0x3333333333333333U) + ((bits >> 2) & 0x3333333333333333U);
  bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0FU;
  return static_cast<int>((bits * 0x0101010101010101U) >> 56);
}

/// A whole number below 2^22 in size with mean 0 and deviation kNormalDrawDeviation: how many of 64
/// random bits are set, a binomial that is close to normal, and between its steps the sum of two
/// uniform numbers. Without a function that rounds, so the same everywhere.
constexpr std::int32_t normal_draw(std::uint64_t key, std::int64_t place) {
  const std::uint64_t coarse = splitmix64(key + static_cast<std::uint64_t>(place));
  const std::uint64_t fine = splitmix64(coarse);
  return static_cast<std::int32_t>((num_ones(coarse) - 32) * 0x10000 +
                                   static_cast<int>(fine & 0xFFFFU) +
                                   static_cast<int>((fine >> 16) & 0xFFFFU) - 0xFFFF);
}

/// 2^16 · sqrt(64 / 4 + 2 / 12)
inline constexpr float kNormalDrawDeviation = 263505.8f;

namespace cpu {

/// y[i] = a value of N(0, deviation²) for place runs.place(i).
///   y  [count] of a floating dtype
void fill_normal(void* y, DType dtype, std::int64_t count, const FillRuns& runs, std::uint64_t key,
                 float deviation);

}  // namespace cpu

namespace cuda {

/// As cpu::fill_normal.
void fill_normal(void* y, DType dtype, std::int64_t count, const FillRuns& runs, std::uint64_t key,
                 float deviation, Stream stream);

}  // namespace cuda

}  // namespace trireme::kernels
