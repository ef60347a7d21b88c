#include "kernels/activation.h"

#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

void silu_and_mul(Context& context, const TensorView& gate_up, const TensorView& y) {
  check_activations(context, "gate_up", gate_up);
  check_activations(context, "y", y);
  check_contiguous("gate_up", gate_up);
  check_contiguous("y", y);
  check_shape("gate_up", gate_up, {y.rows(), 2 * y.shape[1]});
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "silu_and_mul");
      return kernels::cuda::silu_and_mul(gate_up.data, y.data, y.rows(), y.shape[1], y.dtype,
                                         context.stream());
    }
  }
  kernels::cpu::silu_and_mul(gate_up.as<float>(), y.as<float>(), y.rows(), y.shape[1],
                             context.instruction_set);
}

}  // namespace trireme::ops
