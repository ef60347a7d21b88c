#include "kernels/moe.h"

#include <algorithm>
#include <vector>

#include "kernels/activation.h"
#include "ops/check.h"
#include "ops/op_timer.h"
#include "ops/ops.h"

namespace trireme::ops {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;

namespace {

void check_routing(const TensorView& logits, const TensorView& ids, const TensorView& weights) {
  check_rows("logits", logits);
  check_contiguous("logits", logits);
  check_rows("weights", weights);
  check_contiguous("weights", weights);
  check_shape("ids", ids, weights.shape);
  check_contiguous("ids", ids);
  const std::int64_t top_k = weights.shape[1];
  TRIREME_CHECK(weights.rows() == logits.rows() && top_k >= 1 && top_k <= logits.shape[1],
                "weights=", weights.shape.text(), " logits=", logits.shape.text());
}

cuda::Routing routing_of(const TensorView& logits, bool normalize, const TensorView& ids,
                         const TensorView& weights) {
  return {.logits = logits.as<float>(),
          .num_tokens = logits.rows(),
          .num_experts = logits.shape[1],
          .top_k = weights.shape[1],
          .normalize = normalize,
          .ids = ids.as<std::int32_t>(),
          .weights = weights.as<float>()};
}

}  // namespace

void route_softmax(Context& context, const TensorView& logits, bool normalize,
                   const TensorView& ids, const TensorView& weights) {
  check_routing(logits, ids, weights);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      return cuda::route_softmax(routing_of(logits, normalize, ids, weights), context.stream());
    }
  }
  cpu::route_softmax(logits.as<float>(), logits.rows(), logits.shape[1], weights.shape[1],
                     normalize, ids.as<std::int32_t>(), weights.as<float>(),
                     context.instruction_set);
}

void route_to_slots(Context& context, const TensorView& logits, bool normalize,
                    const TensorView* slot_of_expert, const std::int32_t* num_valid,
                    const TensorView& ids, const TensorView& weights, const TensorView& slots) {
  TRIREME_CHECK(context.is_on_gpu(), "logits=", logits.shape.text());
  check_routing(logits, ids, weights);
  check_shape("slots", slots, ids.shape);
  if (slot_of_expert != nullptr) check_shape("slot_of_expert", *slot_of_expert, {logits.shape[1]});
  cuda::Routing routing = routing_of(logits, normalize, ids, weights);
  routing.slots = slots.as<std::int32_t>();
  if (slot_of_expert != nullptr) routing.slot_of_expert = slot_of_expert->as<std::int32_t>();
  routing.num_valid = num_valid;
  if constexpr (kHasCuda) {
    const OpScope timed(context, "route");
    cuda::route_softmax(routing, context.stream());
  }
}

namespace {

struct Sorted {
  const std::int32_t* expert_begin;
  TensorView x;  ///< [num_placed, hidden], grouped by expert
};

void check_experts(const Context& context, const TensorView& x,
                   std::span<const std::int32_t> row_of, std::span<const std::int32_t> slots,
                   const TensorView& gate_up, const TensorView& down) {
  check_activations(context, "x", x);
  check_weight(context, "gate_up", gate_up);
  check_weight(context, "down", down);
  TRIREME_CHECK(down.shape.ndim() == 3, "down is ", down.shape.text());
  check_shape("gate_up", gate_up, {down.rows(), 2 * down.shape[2], x.shape[1]});
  check_shape("down", down, {down.rows(), x.shape[1], down.shape[2]});
  const bool is_even = context.is_on_gpu() && row_of.empty();
  TRIREME_CHECK(is_even ? static_cast<std::int64_t>(slots.size()) % x.rows() == 0
                        : row_of.size() == slots.size(),
                "row_of=", row_of.size(), " slots=", slots.size(), " rows=", x.rows());
  if (context.is_on_gpu()) return;
  for (std::size_t pair = 0; pair < slots.size(); ++pair) {
    TRIREME_CHECK(slots[pair] >= -1 && slots[pair] < down.rows() && row_of[pair] >= 0 &&
                      row_of[pair] < x.rows(),
                  "pair ", pair, " is (row ", row_of[pair], ", slot ", slots[pair], ")");
  }
}

Sorted sort_rows(tensor::Arena& arena, const TensorView& x, std::span<const std::int32_t> row_of,
                 std::span<const std::int32_t> slots, std::int64_t num_slots,
                 const ExpertOutputs& outputs) {
  const auto num_pairs = static_cast<std::int64_t>(slots.size());
  auto* expert_begin = arena.take({num_slots + 1}, DType::int32).as<std::int32_t>();
  auto* pair_at = arena.take({num_pairs}, DType::int32).as<std::int32_t>();
  const std::int64_t num_placed =
      cpu::sort_by_expert(slots.data(), num_pairs, num_slots, expert_begin, pair_at,
                          outputs.place_of_pair.as<std::int32_t>());
  for (std::int64_t place = 0; place < num_placed; ++place) {
    pair_at[place] = row_of[static_cast<std::size_t>(pair_at[place])];
  }
  const TensorView sorted = arena.take({num_placed, x.shape[1]}, DType::float32);
  cpu::gather_rows(x.as<float>(), x.row_stride, pair_at, num_placed, x.shape[1],
                   sorted.as<float>());
  return {expert_begin, sorted};
}

/// y rows of each expert = x rows of it · weight [num_slots, N, K] of it.
void linear_by_expert(Context& context, const Sorted& sorted, const TensorView& x,
                      const TensorView& weight, const TensorView& y) {
  std::vector<cpu::Gemm::Operands> products;
  for (std::int64_t slot = 0; slot < weight.rows(); ++slot) {
    const std::int64_t begin = sorted.expert_begin[slot], end = sorted.expert_begin[slot + 1];
    if (begin == end) continue;
    products.push_back({.x = x.slice(begin, end).as<float>(),
                        .x_stride = x.row_stride,
                        .weight = weight.slice(slot, slot + 1).data,
                        .weight_dtype = weight.dtype,
                        .y = y.slice(begin, end).as<float>(),
                        .y_stride = y.row_stride,
                        .m = end - begin,
                        .n = weight.shape[1],
                        .k = weight.shape[2]});
  }
  context.gemm.run_all(products);
}

ExpertOutputs experts_on_gpu(Context& context, const TensorView& x,
                             std::span<const std::int32_t> row_of,
                             std::span<const std::int32_t> slots, const TensorView& gate_up,
                             const TensorView& down) {
  tensor::Arena& arena = context.arena;
  const auto num_pairs = static_cast<std::int64_t>(slots.size());
  const std::int64_t num_slots = down.rows(), hidden = down.shape[1], size = down.shape[2];
  const ExpertOutputs outputs{arena.take({num_pairs, hidden}, x.dtype),
                              arena.take({num_pairs}, DType::int32)};
  const tensor::ArenaScope scope(arena);
  const TensorView begin = arena.take({num_slots + 1}, DType::int32);
  const TensorView pair_at = arena.take({num_pairs}, DType::int32);
  const TensorView counts =
      arena.take({cuda::sort_workspace_size(num_pairs, num_slots)}, DType::int32);
  {
    const OpScope timed(context, "sort_by_expert");
    cuda::sort_by_expert(slots.data(), num_pairs, num_slots, begin.as<std::int32_t>(),
                         pair_at.as<std::int32_t>(), outputs.place_of_pair.as<std::int32_t>(),
                         counts.as<std::int32_t>(), context.stream());
  }
  // Inside the product where gates and ups can be interleaved; a pass of its own elsewhere.
  const bool is_fused = size % 16 == 0;
  const TensorView inner = arena.take({num_pairs, size}, x.dtype);
  const TensorView both = is_fused ? inner : arena.take({num_pairs, 2 * size}, x.dtype);
  cuda::GroupedProduct product{.x = x.data,
                               .x_stride = x.row_stride,
                               .pair_at = pair_at.as<std::int32_t>(),
                               .row_of = row_of.empty() ? nullptr : row_of.data(),
                               .top_k = x.rows() > 0 ? num_pairs / x.rows() : 1,
                               .weight = gate_up.data,
                               .expert_begin = begin.as<std::int32_t>(),
                               .num_slots = num_slots,
                               .num_places = num_pairs,
                               .y = both.data,
                               .n = 2 * size,
                               .k = hidden,
                               .dtype = x.dtype,
                               .has_silu_and_mul = is_fused,
                               .is_invariant = context.cuda->is_deterministic};
  {
    const OpScope timed(context, "experts' gate_up");
    cuda::grouped_product(product, context.stream());
  }
  if (!is_fused) silu_and_mul(context, both, inner);
  product = {.x = inner.data,
             .x_stride = size,
             .weight = down.data,
             .expert_begin = begin.as<std::int32_t>(),
             .num_slots = num_slots,
             .num_places = num_pairs,
             .y = outputs.pairs.data,
             .n = hidden,
             .k = size,
             .dtype = x.dtype,
             .follows_product = true,
             .is_invariant = context.cuda->is_deterministic};
  const OpScope timed(context, "experts' down");
  cuda::grouped_product(product, context.stream());
  return outputs;
}

}  // namespace

ExpertOutputs experts(Context& context, const TensorView& x, std::span<const std::int32_t> row_of,
                      std::span<const std::int32_t> slots, const TensorView& gate_up,
                      const TensorView& down) {
  check_experts(context, x, row_of, slots, gate_up, down);
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) return experts_on_gpu(context, x, row_of, slots, gate_up, down);
  }
  tensor::Arena& arena = context.arena;
  const auto num_pairs = static_cast<std::int64_t>(slots.size());
  const auto num_placed =
      std::count_if(slots.begin(), slots.end(), [](std::int32_t slot) { return slot >= 0; });
  const ExpertOutputs outputs{arena.take({num_placed, x.shape[1]}, DType::float32),
                              arena.take({num_pairs}, DType::int32)};

  const tensor::ArenaScope scope(arena);
  const Sorted sorted = sort_rows(arena, x, row_of, slots, down.rows(), outputs);
  const TensorView both = arena.take({num_placed, gate_up.shape[1]}, DType::float32);
  const TensorView inner = arena.take({num_placed, down.shape[2]}, DType::float32);
  linear_by_expert(context, sorted, sorted.x, gate_up, both);
  silu_and_mul(context, both, inner);
  linear_by_expert(context, sorted, inner, down, outputs.pairs);
  return outputs;
}

void combine(Context& context, const TensorView& pairs, std::span<const std::int32_t> place_of_pair,
             const TensorView& weights, const TensorView& y) {
  check_activations(context, "pairs", pairs);
  check_contiguous("pairs", pairs);
  check_rows("weights", weights);
  check_contiguous("weights", weights);
  check_activations(context, "y", y);
  check_contiguous("y", y);
  check_shape("y", y, {weights.rows(), pairs.shape[1]});
  TRIREME_CHECK(static_cast<std::int64_t>(place_of_pair.size()) == weights.num_elements(),
                "place_of_pair=", place_of_pair.size(), " weights=", weights.shape.text());
  if constexpr (kHasCuda) {
    if (context.is_on_gpu()) {
      const OpScope timed(context, "combine");
      return cuda::combine(pairs.data, place_of_pair.data(), weights.as<float>(), weights.rows(),
                           weights.shape[1], pairs.shape[1], y.data, y.dtype, context.stream());
    }
  }
  const bool inside =
      std::all_of(place_of_pair.begin(), place_of_pair.end(),
                  [&](std::int32_t place) { return place >= -1 && place < pairs.rows(); });
  TRIREME_CHECK(inside, "a place is outside of the ", pairs.rows(), " pairs");
  cpu::combine(pairs.as<float>(), place_of_pair.data(), weights.as<float>(), weights.rows(),
               weights.shape[1], pairs.shape[1], y.as<float>());
}

}  // namespace trireme::ops
