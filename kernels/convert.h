#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"

namespace trireme::kernels::cpu {

/// Copies `count` elements from one floating type to another, rounding to nearest even. The source
/// may be unaligned, as a file's bytes are.
void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype,
             std::int64_t count);

}  // namespace trireme::kernels::cpu

namespace trireme::kernels::cuda {

/// As cpu::convert, of aligned elements; a NaN may become another.
void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype,
             std::int64_t count, Stream stream);

}  // namespace trireme::kernels::cuda
