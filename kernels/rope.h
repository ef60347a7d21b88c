#pragma once

#include <cstdint>

#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {

/// Rotates the first `rotary_dim` elements of each head in place, halves paired (NeoX order):
/// (x[i], x[i + rotary_dim/2]) by the angle of position and i.
///   x          [num_tokens, num_heads, head_dim] float32, tokens apart by x_stride
///   positions  [num_tokens]
///   cos_sin    [num_positions, rotary_dim] float32: the cosines of the half, then the sines
void rope(float* x, std::int64_t x_stride, const std::int32_t* positions, const float* cos_sin,
          std::int64_t num_tokens, std::int64_t num_heads, std::int64_t head_dim,
          std::int64_t rotary_dim, InstructionSet set);

}  // namespace trireme::kernels::cpu
