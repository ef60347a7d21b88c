#include "text/hashing.h"

#include <random>

namespace trireme::text {

std::uint64_t random_hash_seed() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}

}  // namespace trireme::text
