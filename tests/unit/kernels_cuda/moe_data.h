#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace trireme::kernels {

/// A slot or -1 for each pair; skewed, slot 0 gets about half of them.
inline std::vector<std::int32_t> random_slots(std::int64_t num_pairs, std::int64_t num_slots,
                                              bool is_skewed) {
  std::mt19937 engine(7);
  std::vector<std::int32_t> slots;
  for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
    auto slot = static_cast<std::int32_t>(engine() % static_cast<unsigned>(num_slots + 1)) - 1;
    if (is_skewed && engine() % 2 == 0) slot = 0;
    slots.push_back(slot);
  }
  return slots;
}

}  // namespace trireme::kernels
