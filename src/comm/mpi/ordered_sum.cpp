#include "comm/mpi/ordered_sum.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "base/error.h"

namespace trireme::comm {
namespace {

/// Elements that are summed at a time: the sums stay in the first-level cache.
constexpr std::size_t kTileElements = 1024;

template <typename T>
void sum_tile(std::span<const void* const> parts, std::size_t begin, std::size_t count, T* out) {
  std::array<float, kTileElements> sums;
  const T* first = static_cast<const T*>(parts[0]) + begin;
  for (std::size_t i = 0; i < count; ++i) sums[i] = first[i];
  for (const void* part : parts.subspan(1)) {
    const T* values = static_cast<const T*>(part) + begin;
    for (std::size_t i = 0; i < count; ++i) sums[i] += static_cast<float>(values[i]);
  }
  for (std::size_t i = 0; i < count; ++i) out[begin + i] = T(sums[i]);
}

template <typename T>
void sum(std::span<const void* const> parts, void* out, std::size_t num_elements) {
  for (std::size_t begin = 0; begin < num_elements; begin += kTileElements) {
    sum_tile(parts, begin, std::min(kTileElements, num_elements - begin), static_cast<T*>(out));
  }
}

template <typename T>
T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return b;
  }
  return b > a ? b : a;
}

template <typename T>
void maximum(std::span<const void* const> parts, void* out, std::size_t num_elements) {
  for (std::size_t i = 0; i < num_elements; ++i) {
    T result = static_cast<const T*>(parts[0])[i];
    for (const void* part : parts.subspan(1))
      result = larger(result, static_cast<const T*>(part)[i]);
    static_cast<T*>(out)[i] = result;
  }
}

}  // namespace

void ordered_sum(DType dtype, std::span<const void* const> parts, void* out,
                 std::size_t num_elements) {
  switch (dtype) {
    case DType::float32:
      return sum<float>(parts, out, num_elements);
    case DType::bfloat16:
      return sum<bfloat16>(parts, out, num_elements);
    case DType::float16:
      return sum<float16>(parts, out, num_elements);
    default:
      TRIREME_CHECK(false, "no sum for dtype ", name_of(dtype));
  }
}

void ordered_max(DType dtype, std::span<const void* const> parts, void* out,
                 std::size_t num_elements) {
  switch (dtype) {
    case DType::float32:
      return maximum<float>(parts, out, num_elements);
    case DType::int32:
      return maximum<std::int32_t>(parts, out, num_elements);
    case DType::int64:
      return maximum<std::int64_t>(parts, out, num_elements);
    default:
      TRIREME_CHECK(false, "no maximum for dtype ", name_of(dtype));
  }
}

}  // namespace trireme::comm
