#include "ops/check.h"
#include "ops/ops.h"

namespace trireme::ops {

void linear(Context& context, const TensorView& x, const TensorView& weight, const TensorView* bias,
            const TensorView& y) {
  check_rows("x", x);
  check_rows("y", y);
  check_floating("weight", weight);
  check_contiguous("weight", weight);
  TRIREME_CHECK(weight.shape.ndim() == 2, "weight is ", weight.shape.text());
  const std::int64_t n = weight.shape[0], k = weight.shape[1];
  check_shape("x", x, {x.rows(), k});
  check_shape("y", y, {x.rows(), n});
  if (bias != nullptr) check_vector("bias", *bias, n);

  context.gemm.run({.x = x.as<float>(),
                    .x_stride = x.row_stride,
                    .weight = weight.data,
                    .weight_dtype = weight.dtype,
                    .bias = bias == nullptr ? nullptr : bias->as<float>(),
                    .y = y.as<float>(),
                    .y_stride = y.row_stride,
                    .m = x.rows(),
                    .n = n,
                    .k = k});
}

}  // namespace trireme::ops
