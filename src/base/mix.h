#pragma once

#include <cstdint>
#include <string_view>

namespace trireme {

/// Spreads a 64-bit value over all bits, one to one (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
constexpr std::uint64_t splitmix64(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

/// A key of a text; not for texts that somebody chose to collide.
constexpr std::uint64_t key_of(std::string_view text) {
  std::uint64_t key = text.size();
  for (const char c : text) key = splitmix64(key ^ static_cast<unsigned char>(c));
  return key;
}

}  // namespace trireme
