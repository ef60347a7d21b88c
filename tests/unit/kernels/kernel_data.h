#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "base/dtype.h"
#include "kernels/gemm.h"

namespace trireme::kernels {

inline std::vector<float> random_floats(std::int64_t count, unsigned seed, float scale = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

/// Values of any floating type, and what they are in float32.
struct TypedValues {
  DType dtype = DType::float32;
  std::vector<std::uint8_t> bytes;
  std::vector<float> floats;

  const void* data() const { return bytes.data(); }
};

inline TypedValues to_dtype(const std::vector<float>& values, DType dtype) {
  TypedValues result{dtype, std::vector<std::uint8_t>(values.size() * size_of(dtype)), {}};
  result.floats.resize(values.size());
  const auto convert = [&]<typename T>(T*) {
    T* to = reinterpret_cast<T*>(result.bytes.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      to[i] = T(values[i]);
      result.floats[i] = static_cast<float>(to[i]);
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

/// The instruction sets that this machine can run, weakest first.
inline std::vector<cpu::InstructionSet> available_sets() {
  std::vector<cpu::InstructionSet> sets;
  for (const auto set : {cpu::InstructionSet::generic, cpu::InstructionSet::avx2,
                         cpu::InstructionSet::avx512_bf16}) {
    if (set <= cpu::detect_instruction_set()) sets.push_back(set);
  }
  return sets;
}

inline const std::vector<DType> kFloatTypes = {DType::float32, DType::bfloat16, DType::float16};

}  // namespace trireme::kernels
