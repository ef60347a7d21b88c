#include "kernels/rope.h"

#include <algorithm>

#include "ops/check.h"
#include "ops/ops.h"

namespace trireme::ops {

void rope(Context& context, const TensorView& x, std::int64_t num_heads,
          std::span<const std::int32_t> positions, const TensorView& cos_sin) {
  check_rows("x", x);
  check_rows("cos_sin", cos_sin);
  check_contiguous("cos_sin", cos_sin);
  TRIREME_CHECK(num_heads > 0 && x.shape[1] % num_heads == 0, "x is ", x.shape.text(),
                "; expected a multiple of ", num_heads, " heads");
  const std::int64_t head_dim = x.shape[1] / num_heads, rotary_dim = cos_sin.shape[1];
  TRIREME_CHECK(rotary_dim % 2 == 0 && rotary_dim <= head_dim, "rotary_dim=", rotary_dim,
                " head_dim=", head_dim);
  TRIREME_CHECK(static_cast<std::int64_t>(positions.size()) == x.rows(),
                "positions=", positions.size(), " rows=", x.rows());
  const bool inside = std::all_of(positions.begin(), positions.end(), [&](std::int32_t position) {
    return position >= 0 && position < cos_sin.rows();
  });
  TRIREME_CHECK(inside, "a position is outside of the table of ", cos_sin.rows(), " positions");
  kernels::cpu::rope(x.as<float>(), x.row_stride, positions.data(), cos_sin.as<float>(), x.rows(),
                     num_heads, head_dim, rotary_dim, context.instruction_set);
}

}  // namespace trireme::ops
