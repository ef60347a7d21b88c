#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "comm/factory.h"
#include "tensor/tensor.h"

namespace trireme::test {

using tensor::Tensor;
using tensor::TensorView;

/// A number in [-1, 1) that depends on all three and nothing else: every rank can compute what the
/// others hold.
inline float sample(std::uint64_t seed, std::uint64_t rank, std::uint64_t index) {
  std::uint64_t x = seed * 0x9E3779B97F4A7C15U + rank * 0xBF58476D1CE4E5B9U + index;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  x ^= x >> 31;
  return static_cast<float>(static_cast<std::int64_t>(x >> 40) - (1 << 23)) / (1 << 23);
}

/// Rank `rank`'s tensor of these numbers; integers are their multiples of 1000.
template <typename T>
std::vector<T> samples(std::uint64_t seed, int rank, std::int64_t num_elements) {
  std::vector<T> result(static_cast<std::size_t>(num_elements));
  for (std::size_t i = 0; i < result.size(); ++i) {
    const float value = sample(seed, static_cast<std::uint64_t>(rank), i);
    if constexpr (std::is_integral_v<T>) {
      result[i] = static_cast<T>(static_cast<std::int64_t>(value * 1000));
    } else {
      result[i] = T(value);
    }
  }
  return result;
}

template <typename T>
TensorView view(std::vector<T>& values, const tensor::Shape& shape) {
  return {values.data(), dtype_of<T>, shape};
}

template <typename T>
TensorView view(std::vector<T>& values) {
  return view(values, {static_cast<std::int64_t>(values.size())});
}

/// Equal to the bit, so that NaN equals itself and -0 does not equal 0.
template <typename T>
testing::AssertionResult same_bits(const std::vector<T>& found, const std::vector<T>& expected) {
  if (found.size() != expected.size()) {
    return testing::AssertionFailure() << found.size() << " elements, not " << expected.size();
  }
  if (found.empty() || std::memcmp(found.data(), expected.data(), found.size() * sizeof(T)) == 0) {
    return testing::AssertionSuccess();
  }
  std::size_t i = 0;
  while (std::memcmp(&found[i], &expected[i], sizeof(T)) == 0) ++i;
  return testing::AssertionFailure() << "element " << i << " of " << found.size() << " is "
                                     << +found[i] << ", not " << +expected[i];
}

/// The cases of every backend, over all ranks that were started.
class CommConformance : public testing::TestWithParam<std::string> {
 protected:
  CommConformance() : comm_(comm::make_communicator(comm::MpiComm::world(), GetParam())) {}

  comm::Communicator& comm() { return *comm_; }
  int rank() const { return comm_->rank(); }
  int size() const { return comm_->size(); }
  std::size_t own() const { return static_cast<std::size_t>(rank()); }

  /// Rows of each rank, uneven and some of them zero: {0, 3, 1, 0, 3, 1, ...} from `shift` on.
  std::vector<std::int64_t> uneven(int shift = 0) const {
    constexpr std::int64_t kRows[] = {0, 3, 1};
    std::vector<std::int64_t> counts;
    for (int r = 0; r < size(); ++r) counts.push_back(kRows[(r + shift) % 3]);
    return counts;
  }

 private:
  std::unique_ptr<comm::Communicator> comm_;
};

inline std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
  std::int64_t sum = 0;
  for (const std::int64_t count : counts) sum += count;
  return sum;
}

}  // namespace trireme::test
