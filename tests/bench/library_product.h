#pragma once

#include <cstdint>

namespace trireme::bench {

/// Gigaflops per second of oneDNN's product [m, k] · [n, k]ᵀ by as many threads as OpenMP is set
/// to, with the weights in the order the library likes best; 0 where it has none of that type.
double library_gflops(std::int64_t m, std::int64_t n, std::int64_t k, bool in_bf16);

}  // namespace trireme::bench
