#include "kernels/norm.h"

#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;

void rms_norm(Context& context, const TensorView& x, const TensorView& weight, float eps,
              const TensorView& y) {
  check_activations(context, "x", x);
  check_activations(context, "y", y);
  check_shape("y", y, x.shape);
  check_vector("weight", weight, x.shape[1]);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "rms_norm");
      return cuda::rms_norm(x.data, x.row_stride, weight.as<float>(), eps, y.data, y.row_stride,
                            x.rows(), x.shape[1], x.dtype, context.stream());
    }
  }
  cpu::rms_norm(x.as<float>(), x.row_stride, weight.as<float>(), eps, y.as<float>(), y.row_stride,
                x.rows(), x.shape[1], context.instruction_set);
}

void add_rms_norm(Context& context, const TensorView& x, const TensorView& residual,
                  const TensorView& weight, float eps, const TensorView& y) {
  check_contiguous("x", x);
  check_contiguous("residual", residual);
  check_contiguous("y", y);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "add_rms_norm");
      check_activations(context, "x", x);
      check_activations(context, "residual", residual);
      check_activations(context, "y", y);
      check_shape("residual", residual, x.shape);
      check_shape("y", y, x.shape);
      check_vector("weight", weight, x.shape[1]);
      return cuda::add_rms_norm(x.data, residual.data, weight.as<float>(), eps, y.data, x.rows(),
                                x.shape[1], x.dtype, context.stream());
    }
  }
  add(context, x, residual);
  rms_norm(context, residual, weight, eps, y);
}

void rms_norm_heads(Context& context, const TensorView& x, std::int64_t num_heads,
                    const TensorView& weight, float eps) {
  check_activations(context, "x", x);
  TRIREME_CHECK(num_heads > 0 && x.shape[1] % num_heads == 0, "x is ", x.shape.text(),
                "; expected a multiple of ", num_heads, " heads");
  const std::int64_t head_dim = x.shape[1] / num_heads;
  check_vector("weight", weight, head_dim);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "rms_norm_heads");
      return cuda::rms_norm_heads(x.data, x.row_stride, weight.as<float>(), eps, x.rows(),
                                  num_heads, head_dim, x.dtype, context.stream());
    }
  }
  cpu::rms_norm_heads(x.as<float>(), x.row_stride, weight.as<float>(), eps, x.rows(), num_heads,
                      head_dim, context.instruction_set);
}

void sum_of_squares(Context& context, const TensorView& x, const TensorView& sums) {
  check_activations(context, "x", x);
  check_vector("sums", sums, x.rows());
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "sum_of_squares");
      return cuda::sum_of_squares(x.data, x.row_stride, sums.as<float>(), x.rows(), x.shape[1],
                                  x.dtype, context.stream());
    }
  }
  cpu::sum_of_squares(x.as<float>(), x.row_stride, sums.as<float>(), x.rows(), x.shape[1],
                      context.instruction_set);
}

void scale_by_norm(Context& context, const TensorView& x, const TensorView& sums,
                   std::int64_t total_size, const TensorView& weight, float eps) {
  check_activations(context, "x", x);
  check_vector("sums", sums, x.rows());
  check_vector("weight", weight, x.shape[1]);
  TRIREME_CHECK(total_size >= x.shape[1], "total_size=", total_size, " x=", x.shape.text());
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "scale_by_norm");
      return cuda::scale_by_norm(x.data, x.row_stride, sums.as<float>(), total_size,
                                 weight.as<float>(), eps, x.data, x.row_stride, x.rows(),
                                 x.shape[1], x.dtype, context.stream());
    }
  }
  cpu::scale_by_norm(x.as<float>(), x.row_stride, sums.as<float>(), total_size, weight.as<float>(),
                     eps, x.as<float>(), x.row_stride, x.rows(), x.shape[1],
                     context.instruction_set);
}

void add(Context& context, const TensorView& y, const TensorView& x) {
  check_shape("y", y, x.shape);
  check_contiguous("x", x);
  check_contiguous("y", y);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "add");
      check_activations(context, "x", x);
      check_activations(context, "y", y);
      return cuda::add(y.data, x.data, x.num_elements(), x.dtype, context.stream());
    }
  }
  cpu::add(y.as<float>(), x.as<float>(), x.num_elements());
}

}  // namespace trireme::ops
