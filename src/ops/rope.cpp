#include "kernels/rope.h"

#include <algorithm>

#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

void rope(Context& context, const TensorView& x, std::int64_t num_heads,
          std::span<const std::int32_t> positions, const TensorView& cos_sin) {
  check_activations(context, "x", x);
  check_rows("cos_sin", cos_sin);
  check_contiguous("cos_sin", cos_sin);
  TRIREME_CHECK(num_heads > 0 && x.shape[1] % num_heads == 0, "x is ", x.shape.text(),
                "; expected a multiple of ", num_heads, " heads");
  const std::int64_t head_dim = x.shape[1] / num_heads, rotary_dim = cos_sin.shape[1];
  TRIREME_CHECK(rotary_dim % 2 == 0 && rotary_dim <= head_dim, "rotary_dim=", rotary_dim,
                " head_dim=", head_dim);
  TRIREME_CHECK(static_cast<std::int64_t>(positions.size()) == x.rows(),
                "positions=", positions.size(), " rows=", x.rows());
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      return kernels::cuda::rope(x.data, x.row_stride, positions.data(), cos_sin.as<float>(),
                                 x.rows(), num_heads, head_dim, rotary_dim, x.dtype,
                                 context.stream());
    }
  }
  const bool inside = std::all_of(positions.begin(), positions.end(), [&](std::int32_t position) {
    return position >= 0 && position < cos_sin.rows();
  });
  TRIREME_CHECK(inside, "a position is outside of the table of ", cos_sin.rows(), " positions");
  kernels::cpu::rope(x.as<float>(), x.row_stride, positions.data(), cos_sin.as<float>(), x.rows(),
                     num_heads, head_dim, rotary_dim, context.instruction_set);
}

namespace {

void norm_rope_append_on_gpu(Context& context, const TensorView& qkv,
                             const NormRopeAppend& options) {
  const kernels::KvCache& cache = options.cache;
  const bool has_norm = options.q_norm != nullptr;
  check_activations(context, "qkv", qkv);
  check_rows("cos_sin", options.cos_sin);
  check_contiguous("cos_sin", options.cos_sin);
  if (has_norm) {
    check_vector("q_norm", *options.q_norm, cache.head_dim);
    check_vector("k_norm", *options.k_norm, cache.head_dim);
  }
  TRIREME_CHECK(cache.dtype == qkv.dtype, "cache=", trireme::name_of(cache.dtype),
                " qkv=", trireme::name_of(qkv.dtype));
  TRIREME_CHECK(static_cast<std::int64_t>(options.positions.size()) == qkv.rows() &&
                    options.slot_mapping.size() == options.positions.size(),
                "positions=", options.positions.size(), " slots=", options.slot_mapping.size(),
                " rows=", qkv.rows());
  const OpScope timed(context, "norm_rope_append");
  kernels::cuda::norm_rope_append({.qkv = qkv.data,
                                   .row_stride = qkv.row_stride,
                                   .num_tokens = qkv.rows(),
                                   .num_heads = options.num_heads,
                                   .q_norm = has_norm ? options.q_norm->as<float>() : nullptr,
                                   .k_norm = has_norm ? options.k_norm->as<float>() : nullptr,
                                   .eps = options.eps,
                                   .positions = options.positions.data(),
                                   .cos_sin = options.cos_sin.as<float>(),
                                   .rotary_dim = options.cos_sin.shape[1],
                                   .slot_mapping = options.slot_mapping.data(),
                                   .cache = cache},
                                  context.stream());
}

}  // namespace

void norm_rope_append(Context& context, const TensorView& qkv, const NormRopeAppend& options) {
  const kernels::KvCache& cache = options.cache;
  const std::int64_t q_size = options.num_heads * cache.head_dim;
  const std::int64_t kv_size = cache.num_kv_heads * cache.head_dim;
  check_shape("qkv", qkv, {qkv.rows(), q_size + 2 * kv_size});
  const bool has_norm = options.q_norm != nullptr;
  TRIREME_CHECK(has_norm == (options.k_norm != nullptr), "only one of the norms is given");
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) return norm_rope_append_on_gpu(context, qkv, options);
  }
  const TensorView q = qkv.columns(0, q_size), k = qkv.columns(q_size, q_size + kv_size);
  const TensorView v = qkv.columns(q_size + kv_size, q_size + 2 * kv_size);
  if (has_norm) {
    rms_norm_heads(context, q, options.num_heads, *options.q_norm, options.eps);
    rms_norm_heads(context, k, cache.num_kv_heads, *options.k_norm, options.eps);
  }
  rope(context, q, options.num_heads, options.positions, options.cos_sin);
  rope(context, k, cache.num_kv_heads, options.positions, options.cos_sin);
  append_kv(context, k, v, options.slot_mapping, cache);
}

}  // namespace trireme::ops
