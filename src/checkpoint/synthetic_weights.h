#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "checkpoint/load_plan.h"
#include "tensor/tensor.h"

namespace trireme::checkpoint {

/// A slice of a tensor that no file holds, and the contiguous, zeroed memory it goes to.
struct SyntheticWant {
  std::string name;
  bool is_vector = false;
  Runs runs;
  tensor::TensorView destination;
};

/// Fills matrices with N(0, 0.02²), vectors whose name ends with "norm.weight" with 1, and leaves
/// other vectors, the biases, zero. A value depends on seed, name and place in the whole tensor, so
/// the parts of all layouts fit together. `on_progress(done, total)` in bytes.
void fill_synthetic(std::span<const SyntheticWant> wants, tensor::Place place, std::uint64_t seed,
                    const std::function<void(std::int64_t, std::int64_t)>& on_progress);

}  // namespace trireme::checkpoint
