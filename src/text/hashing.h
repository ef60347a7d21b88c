#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace trireme::text {

/// Multiplies to 128 bits and folds the halves together.
inline std::uint64_t mix_bits(std::uint64_t left, std::uint64_t right) {
  const auto product = static_cast<unsigned __int128>(left) * right;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

/// A seed that a file cannot know, so that no vocabulary can be made to collide. No result of the
/// program depends on it.
std::uint64_t random_hash_seed();

/// Hash of one number.
inline std::uint64_t hash_number(std::uint64_t number, std::uint64_t seed) {
  return mix_bits(number ^ seed, 0x9E3779B97F4A7C15U ^ (seed << 32 | seed >> 32));
}

/// Hash of a string.
inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t hash = hash_number(bytes.size(), seed);
  std::uint64_t word = 0;
  while (bytes.size() >= sizeof(word)) {
    std::memcpy(&word, bytes.data(), sizeof(word));
    hash = mix_bits(hash ^ word, 0xE7037ED1A0B428DBU ^ seed);
    bytes.remove_prefix(sizeof(word));
  }
  word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  return mix_bits(hash ^ word, 0xA0761D6478BD642FU ^ seed);
}

}  // namespace trireme::text
