#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/attention.h"
#include "kernels/cuda_stream.h"
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

namespace trireme::kernels::cuda {

/// As cpu::rope, on x of dtype.
void rope(void* x, std::int64_t x_stride, const std::int32_t* positions, const float* cos_sin,
          std::int64_t num_tokens, std::int64_t num_heads, std::int64_t head_dim,
          std::int64_t rotary_dim, DType dtype, Stream stream);

/// What stands between the projection and attention, in one pass.
struct NormRopeAppend {
  void* qkv = nullptr;  ///< [num_tokens, (num_heads + 2 · num_kv_heads) · head_dim] of cache.dtype
  std::int64_t row_stride = 0;
  std::int64_t num_tokens = 0, num_heads = 0;
  const float* q_norm = nullptr;  ///< [head_dim], with k_norm, or null: no norms
  const float* k_norm = nullptr;
  float eps = 0;
  const std::int32_t* positions = nullptr;     ///< [num_tokens]
  const float* cos_sin = nullptr;              ///< [num_positions, rotary_dim]
  std::int64_t rotary_dim = 0;                 ///< at most head_dim
  const std::int64_t* slot_mapping = nullptr;  ///< [num_tokens]; -1 = padding, not stored
  KvCache cache;
};

/// Norms (if given) and rotates the queries in place; norms and rotates the keys and stores keys
/// and values in the cache. What is left in the keys' columns of qkv is unspecified. Positions and
/// slots are read while the kernel before in the stream still runs: between what writes them and
/// this is a product or an embedding.
void norm_rope_append(const NormRopeAppend& arguments, Stream stream);

}  // namespace trireme::kernels::cuda
