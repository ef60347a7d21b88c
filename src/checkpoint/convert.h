#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace trireme::checkpoint {

/// Copies `count` elements from one floating type to another (rounding to nearest even).
void convert_elements(const void* source, DType source_dtype, void* destination,
                      DType destination_dtype, std::int64_t count);

}  // namespace trireme::checkpoint
