#include "device_data.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

namespace trireme::kernels {
namespace {

const auto kSet = cpu::InstructionSet::generic;

std::string name(DType dtype, std::int64_t a, std::int64_t b) {
  return std::string(name_of(dtype)) + " " + std::to_string(a) + " x " + std::to_string(b);
}

struct Extents {
  std::int64_t rows, size;
};
const std::vector<Extents> kExtents = {{1, 1},     {3, 7},     {5, 64},   {33, 576},  {2, 4096},
                                       {1, 16384}, {2, 18432}, {3, 4097}, {700, 2048}};

TEST(CudaRmsNorm, AgreesWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const auto& [rows, size] : kExtents) {
      for (const std::int64_t gap : {0, 3, 8}) {
        const std::int64_t stride = size + gap;
        const TypedValues x = to_dtype(random_floats(rows * stride, 1, 2.0f), dtype);
        const std::vector<float> weight = random_floats(size, 2);
        std::vector<float> expected(static_cast<std::size_t>(rows * size));
        cpu::rms_norm(x.floats.data(), stride, weight.data(), 1e-5f, expected.data(), size, rows,
                      size, kSet);
        const Bytes x_there = upload(x), y = room_for(rows * size, dtype);
        const OnDevice<float> weight_there(weight);

        cuda::rms_norm(x_there.data(), stride, weight_there.data(), 1e-5f, y.data(), size, rows,
                       size, dtype, stream.get());
        stream.synchronize();

        expect_near(to_floats(y.values(), dtype), expected, tolerance(dtype),
                    name(dtype, rows, size));
      }
    }
  }
}

TEST(CudaAddRmsNorm, AddsAndNorms) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const auto& [rows, size] : kExtents) {
      const TypedValues x = to_dtype(random_floats(rows * size, 1), dtype);
      const TypedValues residual = to_dtype(random_floats(rows * size, 3, 2.0f), dtype);
      const std::vector<float> weight = random_floats(size, 2);
      std::vector<float> sum = residual.floats, expected(sum.size());
      cpu::add(x.floats.data(), sum.data(), rows * size);
      cpu::rms_norm(sum.data(), size, weight.data(), 1e-5f, expected.data(), size, rows, size,
                    kSet);
      const Bytes y = upload(x), residual_there = upload(residual);
      const OnDevice<float> weight_there(weight);

      cuda::add_rms_norm(y.data(), residual_there.data(), weight_there.data(), 1e-5f, y.data(),
                         rows, size, dtype, stream.get());
      stream.synchronize();

      expect_near(to_floats(y.values(), dtype), expected, tolerance(dtype),
                  name(dtype, rows, size));
      expect_near(to_floats(residual_there.values(), dtype), sum, tolerance(dtype),
                  "residual " + name(dtype, rows, size));
    }
  }
}

TEST(CudaNorm, SpreadOverRanksIsTheNormOfOne) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  const std::int64_t rows = 5, size = 200, stride = 203;
  for (const DType dtype : kFloatTypes) {
    const TypedValues x = to_dtype(random_floats(rows * stride, 1, 2.0f), dtype);
    const std::vector<float> weight = random_floats(size, 2);
    std::vector<float> sums(rows), expected(rows * size);
    cpu::sum_of_squares(x.floats.data(), stride, sums.data(), rows, size, kSet);
    cpu::scale_by_norm(x.floats.data(), stride, sums.data(), 2 * size, weight.data(), 1e-5f,
                       expected.data(), size, rows, size, kSet);
    const Bytes x_there = upload(x), y = room_for(rows * size, dtype);
    const OnDevice<float> weight_there(weight), sums_there(std::size_t{rows});

    cuda::sum_of_squares(x_there.data(), stride, sums_there.data(), rows, size, dtype,
                         stream.get());
    cuda::scale_by_norm(x_there.data(), stride, sums_there.data(), 2 * size, weight_there.data(),
                        1e-5f, y.data(), size, rows, size, dtype, stream.get());
    stream.synchronize();

    expect_near(sums_there.values(), sums, 1e-5f, "sums");
    expect_near(to_floats(y.values(), dtype), expected, tolerance(dtype), name(dtype, rows, size));
  }
}

TEST(CudaAdd, AddsElementsAndBiases) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const auto& [rows, size] : kExtents) {
      const TypedValues x = to_dtype(random_floats(rows * size, 1), dtype);
      const TypedValues y = to_dtype(random_floats(rows * size, 2), dtype);
      const std::vector<float> bias = random_floats(size, 3);
      std::vector<float> expected = x.floats;
      cpu::add(y.floats.data(), expected.data(), rows * size);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] += bias[i % static_cast<std::size_t>(size)];
      }
      const Bytes x_there = upload(x), y_there = upload(y);
      const OnDevice<float> bias_there(bias);

      cuda::add(y_there.data(), x_there.data(), rows * size, dtype, stream.get());
      cuda::add_bias(bias_there.data(), x_there.data(), size, rows, size, dtype, stream.get());
      stream.synchronize();

      expect_near(to_floats(x_there.values(), dtype), expected, tolerance(dtype),
                  name(dtype, rows, size), 2.0f);
    }
  }
}

TEST(CudaSiluAndMul, AgreesWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const auto& [rows, size] : kExtents) {
      const TypedValues gate_up = to_dtype(random_floats(rows * 2 * size, 1, 3.0f), dtype);
      std::vector<float> expected(static_cast<std::size_t>(rows * size));
      cpu::silu_and_mul(gate_up.floats.data(), expected.data(), rows, size, kSet);
      const Bytes from = upload(gate_up), y = room_for(rows * size, dtype);

      cuda::silu_and_mul(from.data(), y.data(), rows, size, dtype, stream.get());
      stream.synchronize();

      expect_near(to_floats(y.values(), dtype), expected, tolerance(dtype),
                  name(dtype, rows, size));
    }
  }
}

TEST(CudaEmbedding, CopiesRowsAndZeroesThoseOfOthers) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  const std::vector<std::int32_t> ids = {100, 7, 99, 106, 107, 103, 0};
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t size : {1, 30, 4096}) {
      const TypedValues table = to_dtype(random_floats(7 * size, 1), dtype);
      std::vector<float> expected(ids.size() * static_cast<std::size_t>(size));
      cpu::embedding(ids.data(), 7, table.data(), dtype, 100, 7, size, expected.data());
      const OnDevice<std::int32_t> ids_there(ids);
      const Bytes table_there = upload(table), y = room_for(7 * size, dtype);

      cuda::embedding(ids_there.data(), 7, table_there.data(), 100, 7, size, y.data(), dtype,
                      stream.get());
      stream.synchronize();

      EXPECT_EQ(to_floats(y.values(), dtype), expected) << name(dtype, 7, size);
    }
  }
}

struct HeadShape {
  std::int64_t num_tokens, num_heads, num_kv_heads, head_dim, rotary_dim;
};
const std::vector<HeadShape> kHeadShapes = {
    {3, 9, 3, 64, 64},  {70, 32, 8, 128, 128}, {600, 32, 4, 128, 128}, {5, 8, 1, 256, 256},
    {4, 4, 2, 128, 64}, {2, 6, 2, 20, 20},     {1, 32, 8, 128, 128},   {3, 5, 5, 96, 96},
};

TEST(CudaNormRopeAppend, AgreesWithTheStepsOnTheCpu) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  for (const DType dtype : kFloatTypes) {
    for (const HeadShape& s : kHeadShapes) {
      for (const bool has_norm : {false, true}) {
        const std::int64_t all = s.num_heads + 2 * s.num_kv_heads;
        const std::int64_t stride = all * s.head_dim + 8, blocks = s.num_tokens / 8 + 3;
        const TypedValues qkv = to_dtype(random_floats(s.num_tokens * stride, 1, 2.0f), dtype);
        const std::vector<float> q_norm = random_floats(s.head_dim, 2),
                                 k_norm = random_floats(s.head_dim, 3);
        const std::vector<float> cos_sin = random_floats(50 * s.rotary_dim, 4);
        std::vector<std::int32_t> positions;
        std::vector<std::int64_t> slots;
        for (std::int64_t token = 0; token < s.num_tokens; ++token) {
          positions.push_back(static_cast<std::int32_t>(token * 7 % 50));
          slots.push_back(token + 5);
        }
        if (s.num_tokens > 2) slots[1] = -1;

        std::vector<float> on_cpu = qkv.floats;
        float* k = on_cpu.data() + s.num_heads * s.head_dim;
        float* v = k + s.num_kv_heads * s.head_dim;
        if (has_norm) {
          cpu::rms_norm_heads(on_cpu.data(), stride, q_norm.data(), 1e-5f, s.num_tokens,
                              s.num_heads, s.head_dim, kSet);
          cpu::rms_norm_heads(k, stride, k_norm.data(), 1e-5f, s.num_tokens, s.num_kv_heads,
                              s.head_dim, kSet);
        }
        cpu::rope(on_cpu.data(), stride, positions.data(), cos_sin.data(), s.num_tokens,
                  s.num_heads, s.head_dim, s.rotary_dim, kSet);
        cpu::rope(k, stride, positions.data(), cos_sin.data(), s.num_tokens, s.num_kv_heads,
                  s.head_dim, s.rotary_dim, kSet);
        const std::int64_t cache_size = blocks * s.num_kv_heads * 8 * s.head_dim;
        std::vector<float> k_cache(static_cast<std::size_t>(cache_size)), v_cache = k_cache;
        const KvCache cache{
            k_cache.data(), v_cache.data(), DType::float32, blocks, s.num_kv_heads, 8, s.head_dim};
        for (std::int64_t token = 0; token < s.num_tokens; ++token) {
          if (slots[token] < 0) continue;
          cpu::append_kv(k + token * stride, v + token * stride, stride, &slots[token], 1, cache,
                         kSet);
        }

        const Bytes qkv_there = upload(qkv);
        const Bytes k_there = upload(to_dtype(std::vector<float>(k_cache.size()), dtype));
        const Bytes v_there = upload(to_dtype(std::vector<float>(k_cache.size()), dtype));
        const OnDevice<float> q_norm_there(q_norm), k_norm_there(k_norm), cos_sin_there(cos_sin);
        const OnDevice<std::int32_t> positions_there(positions);
        const OnDevice<std::int64_t> slots_there(slots);
        cuda::norm_rope_append({.qkv = qkv_there.data(),
                                .row_stride = stride,
                                .num_tokens = s.num_tokens,
                                .num_heads = s.num_heads,
                                .q_norm = has_norm ? q_norm_there.data() : nullptr,
                                .k_norm = has_norm ? k_norm_there.data() : nullptr,
                                .eps = 1e-5f,
                                .positions = positions_there.data(),
                                .cos_sin = cos_sin_there.data(),
                                .rotary_dim = s.rotary_dim,
                                .slot_mapping = slots_there.data(),
                                .cache = {k_there.data(), v_there.data(), dtype, blocks,
                                          s.num_kv_heads, 8, s.head_dim}},
                               stream.get());
        stream.synchronize();

        const std::string what = name(dtype, s.num_tokens, s.num_heads) + " heads of " +
                                 std::to_string(s.head_dim) + (has_norm ? " normed" : "");
        const std::vector<float> all_there = to_floats(qkv_there.values(), dtype);
        std::vector<float> q_actual, q_expected;
        for (std::int64_t token = 0; token < s.num_tokens; ++token) {
          for (std::int64_t i = 0; i < s.num_heads * s.head_dim; ++i) {
            q_actual.push_back(all_there[token * stride + i]);
            q_expected.push_back(on_cpu[token * stride + i]);
          }
        }
        // The plain steps round between norm and rotation.
        expect_near(q_actual, q_expected, 2 * tolerance(dtype), "q " + what, 3.0f);
        expect_near(to_floats(k_there.values(), dtype), k_cache, 2 * tolerance(dtype), "k " + what,
                    3.0f);
        expect_near(to_floats(v_there.values(), dtype), v_cache, tolerance(dtype), "v " + what);
      }
    }
  }
}

}  // namespace
}  // namespace trireme::kernels
