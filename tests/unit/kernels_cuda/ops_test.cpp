#include "ops/ops.h"

#include "base/error.h"
#include "device_data.h"

namespace trireme::ops {
namespace {

using kernels::OnDevice;
using kernels::random_floats;
using tensor::Shape;

/// The same operator on both, in float32.
struct Both {
  Context cpu{kernels::cpu::InstructionSet::generic, false};
  Context gpu{std::make_shared<CudaContext>(std::size_t{64} << 20, 64), DType::float32};

  /// A tensor with the same values on the GPU.
  TensorView copy(const TensorView& view) {
    const TensorView there = gpu.arena.take(view.shape, view.dtype);
    gpu.cuda->stream.copy_to_device(there.data, view.data, view.size_bytes());
    return there;
  }
  std::vector<float> values(const TensorView& there) {
    std::vector<float> result(static_cast<std::size_t>(there.num_elements()));
    gpu.cuda->stream.copy_to_host(result.data(), there.data, there.size_bytes());
    gpu.cuda->stream.synchronize();
    return result;
  }
};

std::vector<float> values(const TensorView& view) {
  return {view.as<float>(), view.as<float>() + view.num_elements()};
}

tensor::Tensor filled(const Shape& shape, unsigned seed, float scale = 1.0f) {
  tensor::Tensor result(shape, DType::float32);
  const std::vector<float> random = random_floats(shape.num_elements(), seed, scale);
  std::copy(random.begin(), random.end(), result.view().as<float>());
  return result;
}

TEST(OpsOnGpu, ExpertsReadTheRowsOfTheirPairs) {
  TRIREME_REQUIRES_GPU();
  for (const std::int64_t size : {48, 20}) {
    Both both;
    const std::int64_t rows = 7, hidden = 64, num_slots = 3;
    const tensor::Tensor x = filled({rows, hidden}, 1);
    const tensor::Tensor gate_up = filled({num_slots, 2 * size, hidden}, 2, 0.2f);
    const tensor::Tensor down = filled({num_slots, hidden, size}, 3, 0.2f);
    const std::vector<std::int32_t> row_of = {6, 6, 0, 3, 2, 1, 5, 5, 4, 0};
    const std::vector<std::int32_t> slots = {2, 0, -1, 2, 1, 0, 0, 2, -1, 1};
    const tensor::Tensor weights = filled({5, 2}, 4), y({5, hidden}, DType::float32);
    const OnDevice<std::int32_t> row_of_there(row_of), slots_there(slots);
    const TensorView y_there = both.copy(y), weights_there = both.copy(weights);

    const ExpertOutputs expected = experts(both.cpu, x, row_of, slots, gate_up, down);
    combine(both.cpu, expected.pairs, {expected.place_of_pair.as<std::int32_t>(), 10}, weights, y);
    const ExpertOutputs actual =
        experts(both.gpu, both.copy(x), {row_of_there.data(), 10}, {slots_there.data(), 10},
                both.copy(gate_up), both.copy(down));
    combine(both.gpu, actual.pairs, {actual.place_of_pair.as<std::int32_t>(), 10}, weights_there,
            y_there);

    kernels::expect_near(both.values(y_there), values(y), 2e-5f, "y");
  }
}

TEST(OpsOnGpu, ALayersAttentionIsThatOfTheCpu) {
  TRIREME_REQUIRES_GPU();
  Both both;
  const std::int64_t tokens = 5, heads = 4, kv_heads = 2, dim = 64, blocks = 4;
  const std::int64_t q_size = heads * dim;
  const tensor::Tensor hidden = filled({tokens, 96}, 1), residual = filled({tokens, 96}, 2);
  const tensor::Tensor norm = filled({96}, 3), x({tokens, 96}, DType::float32);
  const tensor::Tensor weight = filled({(heads + 2 * kv_heads) * dim, 96}, 4, 0.2f);
  const tensor::Tensor bias = filled({(heads + 2 * kv_heads) * dim}, 5),
                       head_norm = filled({dim}, 6);
  const tensor::Tensor cos_sin = filled({8, dim}, 7);
  const tensor::Tensor k({blocks * kv_heads * 8, dim}, DType::float32),
      v({blocks * kv_heads * 8, dim}, DType::float32);
  const std::vector<std::int32_t> positions = {0, 0, 1, 2, 3}, q_begin = {0, 1, 5};
  const std::vector<std::int32_t> first = {0, 0}, table = {2, 1};
  const std::vector<std::int64_t> slots = {16, 8, 9, 10, 11};
  const OnDevice<std::int32_t> positions_there(positions), q_begin_there(q_begin),
      first_there(first), table_there(table);
  const OnDevice<std::int64_t> slots_there(slots);

  const auto run = [&](Context& context, const auto& place, const TensorView& k_cache,
                       const TensorView& v_cache, const std::int32_t* at,
                       const std::int64_t* slot_mapping, const kernels::AttentionBatch& batch) {
    const TensorView qkv = context.arena.take({tokens, weight.shape()[0]}, DType::float32);
    const TensorView out = context.arena.take({tokens, q_size}, DType::float32);
    const TensorView x_there = place(x), bias_there = place(bias), norms = place(head_norm);
    const kernels::KvCache cache{k_cache.data, v_cache.data, DType::float32, blocks, kv_heads, 8,
                                 dim};
    add_rms_norm(context, place(hidden), place(residual), place(norm), 1e-5f, x_there);
    linear(context, x_there, place(weight), &bias_there, qkv);
    norm_rope_append(context, qkv,
                     {.num_heads = heads,
                      .q_norm = &norms,
                      .k_norm = &norms,
                      .eps = 1e-5f,
                      .positions = {at, positions.size()},
                      .cos_sin = place(cos_sin),
                      .slot_mapping = {slot_mapping, slots.size()},
                      .cache = cache});
    attention(context, qkv.columns(0, q_size), heads, 0.125f, 0, cache, batch, out);
    return out;
  };
  // The GPU first: on the CPU the tensors themselves are changed.
  const TensorView actual =
      run(both.gpu, [&](const TensorView& view) { return both.copy(view); }, both.copy(k),
          both.copy(v), positions_there.data(), slots_there.data(),
          {2, q_begin_there.data(), first_there.data(), table_there.data(), 1, nullptr, 1});
  const std::vector<float> on_gpu = both.values(actual);
  const TensorView expected =
      run(both.cpu, [](const TensorView& view) { return view; }, k, v, positions.data(),
          slots.data(), {2, q_begin.data(), first.data(), table.data(), 1, nullptr, 1});

  kernels::expect_near(on_gpu, values(expected), 5e-5f, "attention");
}

TEST(OpsOnGpu, RefuseOtherDtypesThanTheActivations) {
  TRIREME_REQUIRES_GPU();
  Context gpu(std::make_shared<CudaContext>(std::size_t{1} << 20, 64), DType::bfloat16);
  const TensorView x = gpu.arena.take({2, 8}, DType::bfloat16);
  const TensorView floats = gpu.arena.take({2, 8}, DType::float32);

  EXPECT_NO_THROW(add(gpu, x, x));
  EXPECT_THROW(add(gpu, floats, x), Error);
  EXPECT_THROW(gpu.arena.take({1 << 20}, DType::uint8), Error);
}

}  // namespace
}  // namespace trireme::ops
