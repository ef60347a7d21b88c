#include "kernels/fill.h"

#include "base/error.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

template <typename T>
void fill(T* y, std::int64_t count, const FillRuns& runs, std::uint64_t key, float scale) {
#pragma omp parallel for schedule(static) if (count > kSmallWork)
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] = T(static_cast<float>(normal_draw(key, runs.place(i))) * scale);
  }
}

}  // namespace

void fill_normal(void* y, DType dtype, std::int64_t count, const FillRuns& runs, std::uint64_t key,
                 float deviation) {
  const float scale = deviation / kNormalDrawDeviation;
  switch (dtype) {
    case DType::float32:
      return fill(static_cast<float*>(y), count, runs, key, scale);
    case DType::bfloat16:
      return fill(static_cast<bfloat16*>(y), count, runs, key, scale);
    case DType::float16:
      return fill(static_cast<float16*>(y), count, runs, key, scale);
    default:
      TRIREME_CHECK(false, "dtype=", name_of(dtype));
  }
}

}  // namespace trireme::kernels::cpu
