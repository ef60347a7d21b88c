#include "layers/moe.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "ops/ops.h"

namespace trireme::layers {
namespace {

std::span<std::int32_t> as_span(const TensorView& view) {
  return {view.as<std::int32_t>(), static_cast<std::size_t>(view.num_elements())};
}

/// Chunks in which a step's tokens are exchanged; the same on every rank of the group.
std::int64_t num_chunks(std::span<const std::int32_t> tokens_of_rank, std::int64_t max_num_tokens) {
  const std::int64_t sum =
      std::accumulate(tokens_of_rank.begin(), tokens_of_rank.end(), std::int64_t{0});
  TRIREME_CHECK(max_num_tokens >= 1, "moe_max_num_tokens=", max_num_tokens);
  return (sum + max_num_tokens - 1) / max_num_tokens;
}

/// For a rank that has all experts: a slot of each; empty if slot e holds expert e. Replicas of one
/// rank hold the same weights, so any will do.
std::vector<std::int32_t> slot_table(std::span<const std::int32_t> expert_of_slot,
                                     std::int64_t num_experts) {
  std::vector<std::int32_t> identity(static_cast<std::size_t>(num_experts));
  std::iota(identity.begin(), identity.end(), 0);
  if (std::ranges::equal(expert_of_slot, identity)) return {};
  std::vector<std::int32_t> slot_of_expert(identity.size(), -1);
  for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot) {
    std::int32_t& entry = slot_of_expert[static_cast<std::size_t>(expert_of_slot[slot])];
    if (entry < 0) entry = static_cast<std::int32_t>(slot);
  }
  return slot_of_expert;
}

}  // namespace

Moe::Moe(checkpoint::WeightLoader& loader, const Options& options, const Shard& shard,
         const ExpertPlacement& placement)
    : options_(options),
      slots_(options.layer, options.num_experts, shard, placement),
      is_split_(shard.moe_tp_size * shard.moe_ep_size > 1) {
  const std::int64_t hidden = options.hidden_size, stored = options.intermediate_size;
  const std::int64_t size = stored / shard.moe_tp_size;
  const WeightPart router{options.layer_prefix + options.names.router,
                          {options.num_experts, hidden},
                          {},
                          0,
                          options.num_experts};
  router_ = declare_weight(loader, {options.num_experts, hidden}, {&router, 1});

  if (shard.moe_ep_size == 1) {
    std::vector<std::int32_t> table = slot_table(slots_.local_experts(), options.num_experts);
    if (!table.empty()) {
      slot_of_expert_ = loader.upload({table.data(), DType::int32, {options.num_experts}});
    }
  }
  std::vector<WeightPart> gate_up, down;
  std::int64_t slot = 0;
  for (const std::int32_t expert : slots_.local_experts()) {
    const std::string prefix = cat(options.layer_prefix, options.names.prefix, expert);
    const std::int64_t row = slot * 2 * size;
    const checkpoint::Slice rows = even_slice(0, stored, shard.moe_tp_rank, shard.moe_tp_size);
    gate_up.push_back({prefix + options.names.gate, {stored, hidden}, rows, row, row + size});
    gate_up.push_back(
        {prefix + options.names.up, {stored, hidden}, rows, row + size, row + 2 * size});
    down.push_back({prefix + options.names.down,
                    {hidden, stored},
                    even_slice(1, stored, shard.moe_tp_rank, shard.moe_tp_size),
                    slot * hidden,
                    (slot + 1) * hidden});
    ++slot;
  }
  gate_up_ = declare_weight(loader, {slot, 2 * size, hidden}, gate_up);
  down_ = declare_weight(loader, {slot, hidden, size}, down);
}

void Moe::forward(ForwardContext& context, const ForwardBatch& batch,
                  comm::ExpertExchange* exchange, const TensorView& x, const TensorView& y) const {
  if (context.ops.is_on_gpu()) return forward_on_gpu(context, batch, x, y);
  if (exchange == nullptr) return forward_shared_tokens(context, batch, x, y);
  const std::int64_t chunks = num_chunks(batch.ffn_num_tokens, context.moe_max_num_tokens);
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const tensor::ArenaScope scope(context.ops.arena);
    const std::int64_t begin = chunk * x.rows() / chunks, end = (chunk + 1) * x.rows() / chunks;
    forward_chunk(context, batch, *exchange, begin, x.slice(begin, end), y.slice(begin, end));
  }
}

Moe::Routing Moe::route(ForwardContext& context, const TensorView& x) const {
  tensor::Arena& arena = context.ops.arena;
  const Routing routing{arena.take({x.rows(), options_.top_k}, DType::int32),
                        arena.take({x.rows(), options_.top_k}, DType::float32)};
  if (x.rows() == 0) return routing;
  const tensor::ArenaScope scope(arena);
  const TensorView logits = arena.take({x.rows(), options_.num_experts}, DType::float32);
  ops::linear(context.ops, x, router_, nullptr, logits);
  ops::route_softmax(context.ops, logits, options_.normalize_weights, routing.ids, routing.weights);
  return routing;
}

void Moe::record(const ForwardBatch& batch, std::int64_t begin, std::span<const std::int32_t> ids,
                 std::span<const comm::ExpertTarget> targets) const {
  if (batch.choices.empty()) return;
  const std::int64_t first = (options_.moe_idx * batch.num_tokens() + begin) * options_.top_k;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    batch.choices[static_cast<std::size_t>(first) + i] = {ids[i], targets[i].moe_ep_rank};
  }
}

void Moe::forward_on_gpu(ForwardContext& context, const ForwardBatch& batch, const TensorView& x,
                         const TensorView& y) const {
  TRIREME_CHECK(!is_split_, "experts over several GPUs");
  if (x.rows() == 0) return;
  tensor::Arena& arena = context.ops.arena;
  const tensor::ArenaScope scope(arena);
  const tensor::Shape shape{x.rows(), options_.top_k};
  const auto num_pairs = static_cast<std::size_t>(shape.num_elements());
  const auto of_layer =
      batch.expert_ids.subspan(static_cast<std::size_t>(options_.moe_idx) * num_pairs, num_pairs);
  const TensorView ids(of_layer.data(), DType::int32, shape);
  const TensorView slots = arena.take(shape, DType::int32);
  const TensorView weights = arena.take(shape, DType::float32);
  const TensorView logits = arena.take({x.rows(), options_.num_experts}, DType::float32);
  ops::linear(context.ops, x, router_, nullptr, logits);
  ops::route_to_slots(context.ops, logits, options_.normalize_weights,
                      slot_of_expert_ ? &slot_of_expert_.view() : nullptr, batch.num_valid, ids,
                      weights, slots);
  const ops::ExpertOutputs outputs =
      ops::experts(context.ops, x, {}, as_span(slots), gate_up_, down_);
  ops::combine(context.ops, outputs.pairs, as_span(outputs.place_of_pair), weights, y);
}

void Moe::forward_shared_tokens(ForwardContext& context, const ForwardBatch& batch,
                                const TensorView& x, const TensorView& y) const {
  if (x.rows() == 0) return;
  tensor::Arena& arena = context.ops.arena;
  const Routing routing = route(context, x);
  const std::int64_t num_pairs = routing.ids.num_elements();
  const auto row_of = as_span(arena.take({num_pairs}, DType::int32));
  for (std::size_t pair = 0; pair < row_of.size(); ++pair) {
    row_of[pair] = static_cast<std::int32_t>(pair / static_cast<std::size_t>(options_.top_k));
  }
  const auto local = as_span(arena.take({num_pairs}, DType::int32));
  std::vector<comm::ExpertTarget> targets(local.size());
  slots_.targets_of_shared(as_span(routing.ids), batch.token_keys, targets);
  slots_.local_slots(targets, local);
  record(batch, 0, as_span(routing.ids), targets);
  const ops::ExpertOutputs outputs = ops::experts(context.ops, x, row_of, local, gate_up_, down_);
  ops::combine(context.ops, outputs.pairs, as_span(outputs.place_of_pair), routing.weights, y);
  if (is_split_) context.groups.ffn->all_reduce(y);
}

void Moe::forward_chunk(ForwardContext& context, const ForwardBatch& batch,
                        comm::ExpertExchange& exchange, std::int64_t begin, const TensorView& x,
                        const TensorView& y) const {
  tensor::Arena& arena = context.ops.arena;
  const Routing routing = route(context, x);
  std::vector<comm::ExpertTarget> targets(static_cast<std::size_t>(routing.ids.num_elements()));
  const auto keys =
      batch.token_keys.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(x.rows()));
  slots_.targets_of_own(as_span(routing.ids), keys, targets);
  record(batch, begin, as_span(routing.ids), targets);
  const comm::DispatchedTokens& received = exchange.dispatch(x, options_.top_k, targets);

  const auto num_pairs = static_cast<std::int64_t>(received.slots.size());
  const TensorView results = arena.take({num_pairs, options_.hidden_size}, DType::float32);
  if (num_pairs > 0) {
    const ops::ExpertOutputs outputs = ops::experts(
        context.ops, received.hidden_states, received.row_of, received.slots, gate_up_, down_);
    // From the experts' order back to that of the pairs: a sum of one term of weight 1.
    const TensorView ones = arena.take({num_pairs, 1}, DType::float32);
    std::fill_n(ones.as<float>(), num_pairs, 1.0f);
    ops::combine(context.ops, outputs.pairs, as_span(outputs.place_of_pair), ones, results);
  }
  exchange.combine(results, routing.weights, y);
}

}  // namespace trireme::layers
