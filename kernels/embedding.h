#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"

namespace trireme::kernels::cpu {

/// y[t] = table[ids[t] - vocab_begin]; zeros for ids outside the table (another rank's shard).
///   table  [num_rows, size] of dtype
///   y      [num_tokens, size] float32
void embedding(const std::int32_t* ids, std::int64_t num_tokens, const void* table, DType dtype,
               std::int64_t vocab_begin, std::int64_t num_rows, std::int64_t size, float* y);

}  // namespace trireme::kernels::cpu

namespace trireme::kernels::cuda {

/// As cpu::embedding, on table and y of dtype.
void embedding(const std::int32_t* ids, std::int64_t num_tokens, const void* table,
               std::int64_t vocab_begin, std::int64_t num_rows, std::int64_t size, void* y,
               DType dtype, Stream stream);

}  // namespace trireme::kernels::cuda
