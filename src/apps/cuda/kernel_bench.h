#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace trireme::apps {

struct KernelBenchOptions {
  std::string model_dir;
  std::vector<std::int64_t> tokens;
  std::int64_t context = 640;  ///< keys that each decode sees
  DType dtype = DType::bfloat16;
  std::string parts;  ///< of operators' names; empty: all operators
};

/// Prints what the GPU of this thread reaches at its best, then a table for each number of tokens.
/// CUDA builds only.
void run_kernel_bench(const KernelBenchOptions& options);

}  // namespace trireme::apps
