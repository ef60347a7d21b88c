#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {
namespace {

/// Operands of a product by weight [N, K] on a GPU.
kernels::cuda::Gemm::Operands operands_of(const TensorView& x, const TensorView& weight,
                                          const TensorView& y) {
  return {.x = x.data,
          .x_stride = x.row_stride,
          .weight = weight.data,
          .dtype = x.dtype,
          .y = y.data,
          .y_stride = y.row_stride,
          .y_dtype = y.dtype,
          .m = x.rows(),
          .n = weight.shape[0],
          .k = weight.shape[1]};
}

void run_on_gpu(Context& context, const kernels::cuda::Gemm::Operands& operands) {
  if (context.cuda->recorded != nullptr) {
    context.cuda->recorded->push_back(operands);
    return;
  }
  const OpScope timed(context, operands.gate_up == nullptr ? "linear " : "linear, silu_and_mul ",
                      operands.n, " x ", operands.k);
  context.cuda->gemm.run(operands, context.stream());
}

}  // namespace

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
      auto operands = operands_of(x, weight, y);
      operands.bias = bias_values;
      return run_on_gpu(context, operands);
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

void linear_silu_and_mul(Context& context, const TensorView& x, const TensorView& weight,
                         const TensorView& y) {
  const tensor::ArenaScope scope(context.arena);
  const TensorView both = context.arena.take({x.rows(), 2 * y.shape[1]}, x.dtype);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      check_activations(context, "x", x);
      check_activations(context, "y", y);
      check_contiguous("y", y);
      check_weight(context, "weight", weight);
      check_shape("weight", weight, {both.shape[1], x.shape[1]});
      check_shape("y", y, {x.rows(), y.shape[1]});
      auto operands = operands_of(x, weight, y);
      operands.gate_up = both.data;
      return run_on_gpu(context, operands);
    }
  }
  linear(context, x, weight, nullptr, both);
  silu_and_mul(context, both, y);
}

}  // namespace trireme::ops
