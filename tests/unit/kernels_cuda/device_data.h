#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernel_data.h"
#include "tensor/device.h"

/// Skips a test where there is no GPU.
#define TRIREME_REQUIRES_GPU() \
  if (trireme::tensor::num_devices() == 0) GTEST_SKIP() << "this machine has no GPU"

namespace trireme::kernels {

/// A vector on the GPU. Room that nobody has written holds NaN.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : OnDevice(values.size()) {
    stream_.copy_to_device(buffer_.data(), values.data(), values.size() * sizeof(T));
    stream_.synchronize();
  }
  explicit OnDevice(std::size_t size)
      : size_(size), buffer_(size * sizeof(T), "test data", "the test's size") {
    stream_.fill(buffer_.data(), 0xff, size * sizeof(T));
    stream_.synchronize();
  }

  T* data() const { return static_cast<T*>(buffer_.data()); }
  std::size_t size() const { return size_; }
  std::vector<T> values() const {
    std::vector<T> result(size_);
    stream_.copy_to_host(result.data(), buffer_.data(), size_ * sizeof(T));
    stream_.synchronize();
    return result;
  }

 private:
  tensor::Stream stream_;
  std::size_t size_;
  tensor::DeviceBuffer buffer_;
};

using Bytes = OnDevice<std::uint8_t>;

inline Bytes upload(const TypedValues& values) { return Bytes(values.bytes); }
inline Bytes room_for(std::int64_t count, DType dtype) {
  return Bytes(static_cast<std::size_t>(count) * size_of(dtype));
}

inline std::vector<float> to_floats(const std::vector<std::uint8_t>& bytes, DType dtype) {
  std::vector<float> result(bytes.size() / size_of(dtype));
  const auto convert = [&]<typename T>(T*) {
    for (std::size_t i = 0; i < result.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      result[i] = static_cast<float>(value);
    }
  };
  if (dtype == DType::bfloat16) {
    convert(static_cast<bfloat16*>(nullptr));
  } else if (dtype == DType::float16) {
    convert(static_cast<float16*>(nullptr));
  } else {
    convert(static_cast<float*>(nullptr));
  }
  return result;
}

/// What rounding to a dtype may change, relative to the value and to the values summed up.
inline float tolerance(DType dtype) {
  return dtype == DType::float32 ? 2e-5f : dtype == DType::bfloat16 ? 1e-2f : 2e-3f;
}

/// Compares all values; names the worst. `size` is that of the terms of a sum.
inline void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                        float relative, const std::string& what, float size = 1.0f) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  std::size_t worst = 0;
  float largest = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const float allowed = relative * (size + std::abs(expected[i]));
    const float excess = std::abs(actual[i] - expected[i]) / allowed;
    if (!(excess <= largest)) {
      worst = i;
      largest = excess;
    }
  }
  if (actual.empty()) return;
  EXPECT_LE(largest, 1.0f) << what << ": element " << worst << " is " << actual[worst]
                           << ", expected " << expected[worst];
}

}  // namespace trireme::kernels
