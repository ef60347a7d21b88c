#include "kernels/embedding.h"

#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

void embedding(Context& context, std::span<const std::int32_t> ids, const TensorView& table,
               std::int64_t vocab_begin, const TensorView& y) {
  check_activations(context, "y", y);
  check_contiguous("y", y);
  check_weight(context, "table", table);
  TRIREME_CHECK(table.shape.ndim() == 2, "table is ", table.shape.text());
  const auto num_tokens = static_cast<std::int64_t>(ids.size());
  check_shape("y", y, {num_tokens, table.shape[1]});
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "embedding");
      return kernels::cuda::embedding(ids.data(), num_tokens, table.data, vocab_begin, table.rows(),
                                      table.shape[1], y.data, y.dtype, context.stream());
    }
  }
  kernels::cpu::embedding(ids.data(), num_tokens, table.data, table.dtype, vocab_begin,
                          table.rows(), table.shape[1], y.as<float>());
}

void take_rows(Context& context, std::span<const std::int32_t> rows, const TensorView& x,
               const TensorView& y) {
  embedding(context, rows, x, 0, y);
}

}  // namespace trireme::ops
