#include "kernels/gemm.h"

namespace trireme::kernels::cpu {
namespace {

template <typename T>
void multiply(const Gemm::Operands& a) {
  const T* weight = static_cast<const T*>(a.weight);
#pragma omp parallel for schedule(static) if (a.m * a.n * a.k > 65536)
  for (std::int64_t n = 0; n < a.n; ++n) {
    const T* row = weight + n * a.k;
    for (std::int64_t m = 0; m < a.m; ++m) {
      const float* x = a.x + m * a.x_stride;
      float sum = 0;
      for (std::int64_t k = 0; k < a.k; ++k) sum += x[k] * static_cast<float>(row[k]);
      a.y[m * a.y_stride + n] = a.bias == nullptr ? sum : sum + a.bias[n];
    }
  }
}

}  // namespace

struct Gemm::Impl {
  InstructionSet set;
  bool round_to_bf16;
};

Gemm::Gemm(InstructionSet set, bool round_to_bf16)
    : impl_(std::make_unique<Impl>(Impl{set, round_to_bf16})) {}
Gemm::Gemm(Gemm&&) noexcept = default;
Gemm& Gemm::operator=(Gemm&&) noexcept = default;
Gemm::~Gemm() = default;

void Gemm::run(const Operands& operands) {
  if (operands.weight_dtype == DType::bfloat16) {
    multiply<bfloat16>(operands);
  } else if (operands.weight_dtype == DType::float16) {
    multiply<float16>(operands);
  } else {
    multiply<float>(operands);
  }
}

InstructionSet Gemm::instruction_set() const { return impl_->set; }

}  // namespace trireme::kernels::cpu
