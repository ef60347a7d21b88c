#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernel_data.h"

namespace trireme::kernels::cpu {
namespace {

struct Shape {
  std::int64_t num_heads, num_kv_heads, head_dim, tokens_per_block;
};
const std::vector<Shape> kShapes = {{1, 1, 64, 16},  {9, 3, 64, 16}, {4, 4, 32, 8},
                                    {8, 1, 128, 32}, {6, 2, 20, 16}, {2, 1, 7, 8},
                                    {14, 2, 80, 64}, {3, 3, 96, 5}};

struct Sequence {
  std::int64_t num_cached, num_new;
};

/// Sequences with random keys and values, their cache in shuffled blocks.
struct Problem {
  Shape shape;
  std::vector<Sequence> seqs;
  std::int64_t max_blocks = 0, num_tokens = 0;
  std::vector<std::vector<float>> keys, values;  ///< of a sequence: [positions, kv heads, head_dim]
  std::vector<float> q, out;
  std::vector<std::int32_t> q_begin = {0}, first_position, block_table;
  std::vector<std::uint8_t> k_bytes, v_bytes;
  KvCache cache;

  Problem(const Shape& extents, const std::vector<Sequence>& sequences, DType dtype)
      : shape(extents), seqs(sequences) {
    for (const Sequence& seq : seqs) {
      const std::int64_t length = seq.num_cached + seq.num_new;
      max_blocks = std::max(max_blocks, length / shape.tokens_per_block + 1);
      num_tokens += seq.num_new;
      q_begin.push_back(static_cast<std::int32_t>(num_tokens));
      first_position.push_back(static_cast<std::int32_t>(seq.num_cached));
    }
    make_cache(dtype);
    q = random_floats(num_tokens * q_stride(), 5);
    out.assign(static_cast<std::size_t>(num_tokens * row_size()), 777.0f);
  }

  std::int64_t row_size() const { return shape.num_heads * shape.head_dim; }
  std::int64_t q_stride() const { return row_size() + 9; }
  std::int64_t kv_size() const { return shape.num_kv_heads * shape.head_dim; }

  void make_cache(DType dtype) {
    const auto num_blocks = static_cast<std::int64_t>(seqs.size()) * max_blocks + 3;
    std::vector<std::int32_t> order(static_cast<std::size_t>(num_blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(11));
    block_table.assign(order.begin(), order.end() - 3);
    const auto bytes =
        static_cast<std::size_t>(num_blocks * shape.tokens_per_block * kv_size()) * size_of(dtype);
    k_bytes.assign(bytes, 0xff);  // NaN wherever nothing was written
    v_bytes.assign(bytes, 0xff);
    cache = {k_bytes.data(),     v_bytes.data(),         dtype,         num_blocks,
             shape.num_kv_heads, shape.tokens_per_block, shape.head_dim};
  }

  /// Fills the cache through append_kv and remembers the values as the cache rounds them.
  void fill(InstructionSet set) {
    for (std::size_t s = 0; s < seqs.size(); ++s) {
      const std::int64_t length = seqs[s].num_cached + seqs[s].num_new;
      const auto seed = static_cast<unsigned>(100 + s);
      const std::int64_t stride = kv_size() + 4;
      const std::vector<float> k = random_floats(length * stride, seed);
      const std::vector<float> v = random_floats(length * stride, seed + 50);
      std::vector<std::int64_t> slots;
      for (std::int64_t at = 0; at < length; ++at) {
        const auto block = block_table[s * max_blocks + at / shape.tokens_per_block];
        slots.push_back(block * shape.tokens_per_block + at % shape.tokens_per_block);
      }
      append_kv(k.data(), v.data(), stride, slots.data(), length, cache, set);
      keys.push_back(rounded(k, stride, length));
      values.push_back(rounded(v, stride, length));
    }
  }

  std::vector<float> rounded(const std::vector<float>& from, std::int64_t stride,
                             std::int64_t length) const {
    std::vector<float> result;
    for (std::int64_t at = 0; at < length; ++at) {
      const auto begin = from.begin() + at * stride;
      result.insert(result.end(), begin, begin + kv_size());
    }
    return to_dtype(result, cache.dtype).floats;
  }

  AttentionBatch batch() const {
    return {static_cast<std::int64_t>(seqs.size()), q_begin.data(), first_position.data(),
            block_table.data(), max_blocks};
  }

  void run(std::int64_t window, InstructionSet set) {
    attention(q.data(), q_stride(), shape.num_heads, scale(), window, cache, batch(), out.data(),
              set);
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.head_dim)); }

  double expected(std::size_t s, std::int64_t token, std::int64_t head, std::int64_t column,
                  std::int64_t window) const {
    const std::int64_t position = seqs[s].num_cached + token;
    const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, position - window + 1) : 0;
    const std::int64_t kv_head = head / (shape.num_heads / shape.num_kv_heads);
    const float* query = q.data() + (q_begin[s] + token) * q_stride() + head * shape.head_dim;
    double sum = 0, total = 0;
    for (std::int64_t at = first; at <= position; ++at) {
      const std::int64_t from = at * kv_size() + kv_head * shape.head_dim;
      double score = 0;
      for (std::int64_t i = 0; i < shape.head_dim; ++i) {
        score += static_cast<double>(query[i]) * keys[s][from + i];
      }
      const double weight = std::exp(score * scale());
      sum += weight;
      total += weight * values[s][from + column];
    }
    return total / sum;
  }

  double worst_error(std::int64_t window) const {
    double worst = 0;
    for (std::size_t s = 0; s < seqs.size(); ++s) {
      for (std::int64_t token = 0; token < seqs[s].num_new; ++token) {
        for (std::int64_t head = 0; head < shape.num_heads; ++head) {
          for (std::int64_t i = 0; i < shape.head_dim; i += 17) {
            const std::int64_t at = (q_begin[s] + token) * row_size() + head * shape.head_dim + i;
            const double error = std::abs(out[at] - expected(s, token, head, i, window));
            worst = std::max(worst, std::isnan(error) ? 1e9 : error);
          }
        }
      }
    }
    return worst;
  }
};

std::string text(const Problem& problem, InstructionSet set) {
  return std::string(name_of(set)) + " " + std::string(trireme::name_of(problem.cache.dtype)) +
         " head_dim=" + std::to_string(problem.shape.head_dim);
}

TEST(Attention, EqualsTheNaiveSumOverRaggedShapes) {
  const std::vector<Sequence> seqs = {{0, 1}, {70, 1}, {0, 0}, {3, 18}, {129, 40}, {200, 1}};
  for (const InstructionSet set : available_sets()) {
    for (const DType dtype : kFloatTypes) {
      for (const Shape& shape : kShapes) {
        Problem problem(shape, seqs, dtype);
        problem.fill(set);

        problem.run(0, set);

        EXPECT_LT(problem.worst_error(0), 2e-6) << text(problem, set);
      }
    }
  }
}

TEST(Attention, SeesOnlyItsWindow) {
  const std::vector<Sequence> seqs = {{0, 30}, {150, 1}, {90, 70}};
  for (const InstructionSet set : available_sets()) {
    for (const std::int64_t window : {1, 5, 64, 1000}) {
      Problem problem({6, 2, 64, 16}, seqs, DType::float32);
      problem.fill(set);

      problem.run(window, set);

      EXPECT_LT(problem.worst_error(window), 2e-6) << text(problem, set) << " window=" << window;
    }
  }
}

TEST(Attention, DoesNotReadFreedBlocksBeforeTheWindow) {
  for (const InstructionSet set : available_sets()) {
    Problem problem({4, 2, 64, 16}, {{150, 9}, {100, 1}}, DType::bfloat16);
    problem.fill(set);
    const std::int64_t window = 40;
    for (std::size_t s = 0; s < problem.seqs.size(); ++s) {
      const std::int64_t first_seen = problem.seqs[s].num_cached - window + 1;
      for (std::int64_t block = 0; block < first_seen / 16; ++block) {
        problem.block_table[s * problem.max_blocks + block] = -1;
      }
    }

    problem.run(window, set);

    EXPECT_LT(problem.worst_error(window), 2e-6) << text(problem, set);
  }
}

TEST(Attention, GivesAPromptInChunksWhatItGivesItWhole) {
  for (const InstructionSet set : available_sets()) {
    Problem whole({6, 2, 64, 16}, {{0, 140}}, DType::float32);
    whole.fill(set);
    whole.run(0, set);

    std::vector<float> in_chunks(whole.out.size());
    const std::vector<std::int32_t> cuts = {0, 1, 33, 97, 140};
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      const std::int32_t begins[] = {0, cuts[i + 1] - cuts[i]};
      const AttentionBatch batch{1, begins, &cuts[i], whole.block_table.data(), whole.max_blocks};
      attention(whole.q.data() + cuts[i] * whole.q_stride(), whole.q_stride(), 6, whole.scale(), 0,
                whole.cache, batch, in_chunks.data() + cuts[i] * whole.row_size(), set);
    }

    for (std::size_t i = 0; i < in_chunks.size(); ++i) {
      ASSERT_NEAR(in_chunks[i], whole.out[i], 2e-6) << name_of(set);
    }
  }
}

TEST(Attention, SurvivesScoresTooLargeToExponentiate) {
  for (const InstructionSet set : available_sets()) {
    Problem problem({2, 1, 64, 16}, {{80, 3}}, DType::float32);
    problem.fill(set);
    for (float& value : problem.q) value *= 300.0f;

    problem.run(0, set);

    for (const float value : problem.out) ASSERT_TRUE(std::isfinite(value)) << name_of(set);
  }
}

TEST(AppendKv, RoundsLikeTheScalarTypes) {
  for (const InstructionSet set : available_sets()) {
    for (const DType dtype : kFloatTypes) {
      const std::int64_t size = 45;
      std::vector<float> values = random_floats(size, 8);
      values[3] = std::numeric_limits<float>::infinity();
      values[17] = std::numeric_limits<float>::quiet_NaN();
      values[44] = 1e-40f;
      const TypedValues expected = to_dtype(values, dtype);
      std::vector<std::uint8_t> k(4 * size * size_of(dtype)), v(k.size());
      const KvCache cache{k.data(), v.data(), dtype, 2, 1, 2, size};
      const std::int64_t slot = 3;

      append_kv(values.data(), values.data(), size, &slot, 1, cache, set);

      const auto at = static_cast<std::ptrdiff_t>(3 * size * size_of(dtype));
      EXPECT_TRUE(std::equal(expected.bytes.begin(), expected.bytes.end(), k.begin() + at));
      EXPECT_TRUE(std::equal(expected.bytes.begin(), expected.bytes.end(), v.begin() + at));
    }
  }
}

}  // namespace
}  // namespace trireme::kernels::cpu
