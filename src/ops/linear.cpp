#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

void linear(Context& context, const TensorView& x, const TensorView& weight, const TensorView* bias,
            const TensorView& y) {
  check_activations(context, "x", x);
  // Logits are float32 whatever the activations are.
  check_rows_of("y", y, y.dtype == DType::float32 ? y.dtype : context.activation_dtype);
  check_weight(context, "weight", weight);
  TRIREME_CHECK(weight.shape.ndim() == 2, "weight is ", weight.shape.text());
  const std::int64_t n = weight.shape[0], k = weight.shape[1];
  check_shape("x", x, {x.rows(), k});
  check_shape("y", y, {x.rows(), n});
  if (bias != nullptr) check_vector("bias", *bias, n);
  const float* bias_values = bias == nullptr ? nullptr : bias->as<float>();

  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const kernels::cuda::Gemm::Operands operands{.x = x.data,
                                                   .x_stride = x.row_stride,
                                                   .weight = weight.data,
                                                   .dtype = x.dtype,
                                                   .bias = bias_values,
                                                   .y = y.data,
                                                   .y_stride = y.row_stride,
                                                   .y_dtype = y.dtype,
                                                   .m = x.rows(),
                                                   .n = n,
                                                   .k = k};
      if (context.cuda->recorded != nullptr) {
        context.cuda->recorded->push_back(operands);
        return;
      }
      const OpScope timed(context, "linear ", n, " x ", k);
      return context.cuda->gemm.run(operands, context.stream());
    }
  }
  context.gemm.run({.x = x.as<float>(),
                    .x_stride = x.row_stride,
                    .weight = weight.data,
                    .weight_dtype = weight.dtype,
                    .bias = bias_values,
                    .y = y.as<float>(),
                    .y_stride = y.row_stride,
                    .m = x.rows(),
                    .n = n,
                    .k = k});
}

}  // namespace trireme::ops
