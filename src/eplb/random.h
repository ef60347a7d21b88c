#pragma once

#include <cstdint>

namespace trireme::eplb {

/// A small generator (splitmix64) whose numbers are the same on every machine, which those of
/// std::uniform_int_distribution are not.
class Random {
 public:
  /// Streams of one seed start far apart.
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : state_(mix(mix(seed) + stream)) {}

  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15U); }

  /// One of [0, count), count ≥ 1. The bias is below count / 2^32.
  std::int32_t below(std::int32_t count) {
    return static_cast<std::int32_t>(((next() >> 32) * static_cast<std::uint64_t>(count)) >> 32);
  }

  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31);
  }

  std::uint64_t state_;
};

}  // namespace trireme::eplb
