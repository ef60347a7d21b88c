#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/cuda/operator_timer.h"
#include "base/mix.h"
#include "kernels/moe.h"
#include "kernels/sampling.h"
#include "ops/ops.h"

/// One call of each operator, with other operands every time. What a call captures beside these
/// lives until the next operator.
namespace trireme::apps {
namespace {

namespace cuda = kernels::cuda;
using tensor::TensorView;

/// [0, limit)
std::vector<std::int32_t> random_ids(std::int64_t count, std::int64_t limit) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>(splitmix64(i) % static_cast<std::uint64_t>(limit));
  }
  return ids;
}

/// Tables of sequences whose blocks lie anywhere, as after many requests.
std::vector<std::int32_t> block_table(std::int64_t num_entries, std::int64_t num_blocks) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(num_blocks));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[splitmix64(i) % i]);
  }
  std::vector<std::int32_t> table(static_cast<std::size_t>(num_entries));
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = order[i % order.size()];
  return table;
}

}  // namespace

OperatorTimer::Call OperatorTimer::embedding(const BenchOperator& op) {
  // Other ids at every call, so that rows come from memory.
  const std::int64_t sets = std::clamp<std::int64_t>((1 << 20) / op.rows, 1, 256);
  const std::int32_t* ids = indices(random_ids(sets * op.rows, op.k));
  const TensorView table = pools_.in.next({op.k, op.n}, dtype_);
  return [this, op, sets, ids, table, turn = std::int64_t{0}]() mutable {
    const std::int32_t* of_turn = ids + turn++ % sets * op.rows;
    ops::embedding(context_, {of_turn, static_cast<std::size_t>(op.rows)}, table, 0,
                   pools_.out.next({op.rows, op.n}, dtype_));
  };
}

OperatorTimer::Call OperatorTimer::rms_norm(const BenchOperator& op) {
  const TensorView weight = pools_.in.next({op.n}, DType::float32);
  return [this, op, weight] {
    const auto eps = static_cast<float>(config_.rms_norm_eps);
    if (op.k == op.n) {
      const TensorView x = pools_.in.next({op.rows, op.n}, dtype_);
      return ops::rms_norm(context_, x, weight, eps, pools_.out.next({op.rows, op.n}, dtype_));
    }
    const TensorView part = pools_.out.next({op.rows, op.k}, dtype_).columns(0, op.n);
    ops::rms_norm(context_, part, weight, eps, part);
  };
}

OperatorTimer::Call OperatorTimer::add_rms_norm(const BenchOperator& op) {
  const TensorView weight = pools_.in.next({op.n}, DType::float32);
  return [this, op, weight] {
    const tensor::Shape shape{op.rows, op.n};
    const TensorView residual = pools_.out.next(shape, dtype_);
    ops::add_rms_norm(context_, pools_.in.next(shape, dtype_), residual, weight,
                      static_cast<float>(config_.rms_norm_eps), pools_.out.next(shape, dtype_));
  };
}

OperatorTimer::Call OperatorTimer::add(const BenchOperator& op) {
  return [this, op] {
    const tensor::Shape shape{op.rows, op.n};
    ops::add(context_, pools_.in.next(shape, dtype_), pools_.out.next(shape, dtype_));
  };
}

OperatorTimer::Call OperatorTimer::linear(const BenchOperator& op) {
  const float* bias = nullptr;
  if (op.has_bias) bias = pools_.in.next({op.n}, DType::float32).as<float>();
  const auto operands = [this, op, bias](std::int64_t rows) {
    cuda::Gemm::Operands o =
        operands_of(rows, op.n, op.k, op.makes_logits ? DType::float32 : dtype_);
    o.bias = bias;
    if (!op.has_silu_and_mul) return o;
    o.gate_up = o.y;
    o.y = pools_.out.next({rows, op.n / 2}, dtype_).data;
    o.y_stride = op.n / 2;
    return o;
  };
  cuda::Gemm& gemm = context_.cuda->gemm;
  // As the engine does, which leaves float32 to the library's first choice.
  if (dtype_ != DType::float32) {
    constexpr double kBytesBeyondCache = 200.0 * (1 << 20);
    const double weight_bytes = static_cast<double>(op.n * op.k) * 2;
    const auto layers = std::clamp(std::ceil(kBytesBeyondCache / weight_bytes), 2.0, 64.0);
    std::vector<cuda::Gemm::Operands> products;
    for (int layer = 0; layer < static_cast<int>(layers); ++layer) {
      products.push_back(operands(cuda::Gemm::bucket_of(op.rows)));
    }
    gemm.tune(products, context_.stream());
  }
  return [this, &gemm, operands, op] { gemm.run(operands(op.rows), context_.stream()); };
}

kernels::KvCache OperatorTimer::next_cache(OperandPool& pool, std::int64_t num_blocks) {
  const tensor::Shape shape{num_blocks, config_.num_kv_heads, kBenchTokensPerBlock,
                            config_.head_dim};
  void* k = pool.next(shape, dtype_).data;
  void* v = pool.next(shape, dtype_).data;
  return {.k = k,
          .v = v,
          .dtype = dtype_,
          .num_blocks = num_blocks,
          .num_kv_heads = config_.num_kv_heads,
          .tokens_per_block = kBenchTokensPerBlock,
          .head_dim = config_.head_dim};
}

OperatorTimer::Call OperatorTimer::norm_rope_append(const BenchOperator& op) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(op.rows));
  std::vector<std::int64_t> slots(positions.size());
  std::iota(positions.begin(), positions.end(), 0);
  std::iota(slots.begin(), slots.end(), std::int64_t{0});
  const std::int32_t* positions_there = indices(positions);
  const std::int64_t* slots_there = indices(slots);
  const bool has_norm = qk_norm_ == layers::QkNorm::per_head;
  const TensorView norm = pools_.in.next({config_.head_dim}, DType::float32);
  const TensorView cos_sin = pools_.in.next({op.k, config_.head_dim}, DType::float32);
  return [=, this] {
    const auto count = static_cast<std::size_t>(op.rows);
    const TensorView qkv = pools_.out.next({op.rows, op.n}, dtype_);
    ops::norm_rope_append(context_, qkv,
                          {.num_heads = config_.num_heads,
                           .q_norm = has_norm ? &norm : nullptr,
                           .k_norm = has_norm ? &norm : nullptr,
                           .eps = static_cast<float>(config_.rms_norm_eps),
                           .positions = {positions_there, count},
                           .cos_sin = cos_sin,
                           .slot_mapping = {slots_there, count},
                           .cache = next_cache(pools_.out, op.cache_blocks)});
  };
}

OperatorTimer::Call OperatorTimer::attention(const BenchOperator& op) {
  const bool is_decode = op.kind == OperatorKind::attention_decodes;
  const std::int64_t num_seqs = is_decode ? op.rows : 1;
  const std::int64_t max_blocks = (op.k + kBenchTokensPerBlock - 1) / kBenchTokensPerBlock;
  std::vector<std::int32_t> q_begin(static_cast<std::size_t>(num_seqs) + 1);
  std::iota(q_begin.begin(), q_begin.end(), 0);
  if (!is_decode) q_begin.back() = static_cast<std::int32_t>(op.rows);
  const std::vector<std::int32_t> first(static_cast<std::size_t>(num_seqs),
                                        is_decode ? static_cast<std::int32_t>(op.k - 1) : 0);
  const kernels::AttentionBatch batch{
      .num_seqs = num_seqs,
      .q_begin = indices(q_begin),
      .first_position = indices(first),
      .block_table = indices(block_table(num_seqs * max_blocks, op.cache_blocks)),
      .max_blocks = max_blocks,
      .num_decodes = is_decode ? num_seqs : 0};
  return [this, op, batch] {
    const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
    const TensorView q = pools_.in.next({op.rows, op.n}, dtype_);
    ops::attention(context_, q, config_.num_heads, scale, op.window,
                   next_cache(pools_.in, op.cache_blocks), batch,
                   pools_.out.next({op.rows, op.n}, dtype_));
  };
}

OperatorTimer::Call OperatorTimer::silu_and_mul(const BenchOperator& op) {
  return [this, op] {
    ops::silu_and_mul(context_, pools_.in.next({op.rows, 2 * op.n}, dtype_),
                      pools_.out.next({op.rows, op.n}, dtype_));
  };
}

OperatorTimer::Call OperatorTimer::route(const BenchOperator& op) {
  return [this, op] {
    const tensor::Shape chosen{op.rows, op.k};
    const TensorView ids = pools_.out.next(chosen, DType::int32);
    const TensorView weights = pools_.out.next(chosen, DType::float32);
    ops::route_to_slots(context_, pools_.in.next({op.rows, op.n}, DType::float32),
                        config_.norm_topk_prob, nullptr, nullptr, ids, weights,
                        pools_.out.next(chosen, DType::int32));
  };
}

OperatorTimer::Places OperatorTimer::sorted_pairs(std::int64_t tokens) {
  const std::vector<std::int32_t> slots =
      random_experts(tokens, config_.num_experts, config_.experts_per_token);
  const auto num_pairs = static_cast<std::int64_t>(slots.size());
  const auto zeros = [&](std::int64_t count) {
    return indices(std::vector<std::int32_t>(static_cast<std::size_t>(count)));
  };
  const Places places{.slots = indices(slots),
                      .expert_begin = zeros(config_.num_experts + 1),
                      .pair_at = zeros(num_pairs),
                      .place_of_pair = zeros(num_pairs),
                      .workspace = zeros(cuda::sort_workspace_size(num_pairs, config_.num_experts)),
                      .num_pairs = num_pairs};
  sort(places);
  context_.cuda->stream.synchronize();
  return places;
}

void OperatorTimer::sort(const Places& places) const {
  cuda::sort_by_expert(places.slots, places.num_pairs, config_.num_experts, places.expert_begin,
                       places.pair_at, places.place_of_pair, places.workspace, context_.stream());
}

OperatorTimer::Call OperatorTimer::sort_by_expert(const BenchOperator& op) {
  return [this, places = sorted_pairs(op.rows)] { sort(places); };
}

// What ops::experts() launches as one.
OperatorTimer::Call OperatorTimer::experts(const BenchOperator& op) {
  const bool is_first = op.kind == OperatorKind::experts_gate_up;
  const bool is_fused = is_first && config_.moe_intermediate_size % 16 == 0;
  return [this, op, is_first, is_fused, places = sorted_pairs(op.rows)] {
    const TensorView x = pools_.in.next({is_first ? op.rows : places.num_pairs, op.k}, dtype_);
    const TensorView weight = pools_.in.next({config_.num_experts, op.n, op.k}, dtype_);
    const TensorView y = pools_.out.next({places.num_pairs, is_fused ? op.n / 2 : op.n}, dtype_);
    cuda::grouped_product({.x = x.data,
                           .x_stride = x.row_stride,
                           .pair_at = is_first ? places.pair_at : nullptr,
                           .top_k = is_first ? config_.experts_per_token : 1,
                           .weight = weight.data,
                           .expert_begin = places.expert_begin,
                           .num_slots = config_.num_experts,
                           .num_places = places.num_pairs,
                           .y = y.data,
                           .n = op.n,
                           .k = op.k,
                           .dtype = dtype_,
                           .has_silu_and_mul = is_fused,
                           .follows_product = !is_first},
                          context_.stream());
  };
}

OperatorTimer::Call OperatorTimer::combine(const BenchOperator& op) {
  const Places places = sorted_pairs(op.rows);
  const std::vector<float> shares(static_cast<std::size_t>(places.num_pairs),
                                  1.0f / static_cast<float>(op.k));
  const TensorView weights(indices(shares), DType::float32, {op.rows, op.k});
  return [this, op, places, weights] {
    const auto num_pairs = static_cast<std::size_t>(places.num_pairs);
    ops::combine(context_, pools_.in.next({places.num_pairs, op.n}, dtype_),
                 {places.place_of_pair, num_pairs}, weights,
                 pools_.out.next({op.rows, op.n}, dtype_));
  };
}

OperatorTimer::Call OperatorTimer::sample(const BenchOperator& op) {
  constexpr std::int64_t kTop = kernels::kMostTopLogprobs;
  const auto count = static_cast<std::size_t>(op.rows);
  std::vector<kernels::SamplingRow> rows(count);
  for (std::size_t i = 0; i < count; ++i) {
    rows[i].key = i;
    rows[i].logits_row = static_cast<std::int32_t>(i);
  }
  cuda::Sampling sampling{
      .logits_stride = op.n,
      .vocab_size = op.n,
      .rows = indices(rows),
      .num_rows = op.rows,
      .max_top = kTop,
      .tokens = indices(std::vector<std::int32_t>(count)),
      .logprobs = indices(std::vector<float>(count)),
      .top_ids = indices(std::vector<std::int32_t>(count * kTop)),
      .top_logprobs = indices(std::vector<float>(count * kTop)),
      .workspace =
          indices(std::vector<std::uint8_t>(cuda::sampling_workspace_bytes(op.rows, op.n)))};
  return [this, op, sampling]() mutable {
    sampling.logits = pools_.in.next({op.rows, op.n}, DType::float32).as<float>();
    cuda::sample(sampling, context_.stream());
  };
}

}  // namespace trireme::apps
