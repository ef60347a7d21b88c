#pragma once

#include <cstddef>
#include <span>

#include "base/dtype.h"

namespace trireme::comm {

/// out[i] = Σ parts[r][i] in the order of r, in float32, rounded once. `out` may be one of the
/// parts. float32, bfloat16, float16; others are a caller's bug.
void ordered_sum(DType dtype, std::span<const void* const> parts, void* out,
                 std::size_t num_elements);

/// out[i] = the largest of parts[r][i]; a NaN loses to any number. float32, int32, int64.
void ordered_max(DType dtype, std::span<const void* const> parts, void* out,
                 std::size_t num_elements);

}  // namespace trireme::comm
