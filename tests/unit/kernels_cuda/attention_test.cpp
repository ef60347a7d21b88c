#include "kernels/attention.h"

#include <algorithm>
#include <numeric>

#include "device_data.h"

namespace trireme::kernels {
namespace {

struct Shape {
  std::int64_t num_heads, num_kv_heads, head_dim, tokens_per_block;
};
const std::vector<Shape> kShapes = {{9, 3, 64, 16},  {32, 8, 128, 64}, {32, 4, 128, 8},
                                    {4, 2, 256, 32}, {20, 1, 128, 16}, {6, 2, 20, 16},
                                    {14, 2, 80, 64}, {40, 2, 64, 8},   {3, 3, 96, 5}};

struct Sequence {
  std::int64_t num_cached, num_new;
};

/// A step: decodes first, then chunks.
struct Step {
  std::vector<Sequence> seqs;
  std::int64_t num_decodes;
};
const std::vector<Step> kSteps = {
    {{{0, 1}}, 1},
    {{{700, 1}}, 1},
    {{{0, 1}, {63, 1}, {15, 1}, {16, 1}, {500, 1}}, 5},
    {{{0, 1}, {40, 0}, {33, 1}, {0, 70}, {100, 30}, {5, 0}, {0, 1}, {130, 200}}, 3},
    {{{0, 300}, {64, 64}, {17, 1}}, 0},
};

/// Keys and values of a step's sequences in shuffled blocks; NaN where nothing belongs.
class Problem {
 public:
  Problem(const Shape& shape, const std::vector<Sequence>& seqs, DType dtype) : shape_(shape) {
    for (const Sequence& seq : seqs) {
      max_blocks_ =
          std::max(max_blocks_, (seq.num_cached + seq.num_new) / shape.tokens_per_block + 1);
      num_tokens_ += seq.num_new;
      q_begin_.push_back(static_cast<std::int32_t>(num_tokens_));
      first_position_.push_back(static_cast<std::int32_t>(seq.num_cached));
    }
    num_blocks_ = static_cast<std::int64_t>(seqs.size()) * max_blocks_ + 3;
    block_table_.resize(static_cast<std::size_t>(num_blocks_));
    std::iota(block_table_.begin(), block_table_.end(), 0);
    std::shuffle(block_table_.begin(), block_table_.end(), std::mt19937(11));
    block_table_.resize(block_table_.size() - 3);
    q_ = to_dtype(random_floats(num_tokens_ * q_stride(), 5), dtype);
    k_ = random_cache(seqs, 6, dtype);
    v_ = random_cache(seqs, 7, dtype);
  }

  std::int64_t q_stride() const { return shape_.num_heads * shape_.head_dim + 16; }
  std::int64_t out_size() const { return num_tokens_ * shape_.num_heads * shape_.head_dim; }

  /// Blocks that no query of any sequence sees any more are given away.
  void free_blocks_before(std::int64_t window) {
    for (std::size_t s = 0; s < first_position_.size(); ++s) {
      const std::int64_t first = first_position_[s] + 1 - window;
      for (std::int64_t b = 0; (b + 1) * shape_.tokens_per_block <= first; ++b) {
        block_table_[s * static_cast<std::size_t>(max_blocks_) + static_cast<std::size_t>(b)] = -1;
      }
    }
  }

  std::vector<float> on_cpu(std::int64_t window) {
    std::vector<float> out(static_cast<std::size_t>(out_size()), 777.0f);
    const KvCache cache = make_cache(k_.floats.data(), v_.floats.data(), DType::float32);
    const AttentionBatch batch{num_seqs(), q_begin_.data(), first_position_.data(),
                               block_table_.data(), max_blocks_};
    cpu::attention(q_.floats.data(), q_stride(), shape_.num_heads, 0.17f, window, cache, batch,
                   out.data(), cpu::detect_instruction_set());
    return out;
  }

  /// Twice, since the workspace must be left as it was found.
  std::vector<float> on_gpu(std::int64_t window, std::int64_t num_decodes, DType dtype) {
    const tensor::Stream stream;
    const Bytes q = upload(q_), k = upload(k_), v = upload(v_), out = room_for(out_size(), dtype);
    const OnDevice<std::int32_t> q_begin(q_begin_), first_position(first_position_),
        block_table(block_table_);
    const Bytes workspace(
        std::vector<std::uint8_t>(cuda::attention_workspace_bytes(shape_.head_dim)));
    for (int run = 0; run < 2; ++run) {
      stream.fill(out.data(), 0xff, out.values().size());
      cuda::attention({.q = q.data(),
                       .q_stride = q_stride(),
                       .num_heads = shape_.num_heads,
                       .scale = 0.17f,
                       .window = window,
                       .cache = make_cache(k.data(), v.data(), dtype),
                       .batch = {num_seqs(), q_begin.data(), first_position.data(),
                                 block_table.data(), max_blocks_, nullptr, num_decodes},
                       .num_tokens = num_tokens_,
                       .out = out.data(),
                       .workspace = workspace.data()},
                      stream.get());
    }
    stream.synchronize();
    return to_floats(out.values(), dtype);
  }

 private:
  std::int64_t num_seqs() const { return static_cast<std::int64_t>(first_position_.size()); }

  KvCache make_cache(void* k, void* v, DType dtype) const {
    return {
        k, v, dtype, num_blocks_, shape_.num_kv_heads, shape_.tokens_per_block, shape_.head_dim};
  }

  TypedValues random_cache(const std::vector<Sequence>& seqs, unsigned seed, DType dtype) const {
    const std::int64_t dim = shape_.head_dim, per_block = shape_.tokens_per_block;
    std::vector<float> values(
        static_cast<std::size_t>(num_blocks_ * shape_.num_kv_heads * per_block * dim),
        std::nanf(""));
    const std::vector<float> random = random_floats(static_cast<std::int64_t>(values.size()), seed);
    for (std::size_t s = 0; s < seqs.size(); ++s) {
      for (std::int64_t at = 0; at < seqs[s].num_cached + seqs[s].num_new; ++at) {
        const std::int64_t block = block_table_[s * static_cast<std::size_t>(max_blocks_) +
                                                static_cast<std::size_t>(at / per_block)];
        for (std::int64_t head = 0; head < shape_.num_kv_heads; ++head) {
          const std::int64_t row =
              (block * shape_.num_kv_heads + head) * per_block + at % per_block;
          for (std::int64_t i = row * dim; i < (row + 1) * dim; ++i) values[i] = random[i];
        }
      }
    }
    return to_dtype(values, dtype);
  }

  Shape shape_;
  std::int64_t max_blocks_ = 0, num_tokens_ = 0, num_blocks_ = 0;
  std::vector<std::int32_t> q_begin_ = {0}, first_position_, block_table_;
  TypedValues q_, k_, v_;
};

TEST(CudaAttention, AgreesWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  for (const DType dtype : kFloatTypes) {
    for (const Shape& shape : kShapes) {
      for (const Step& step : kSteps) {
        for (const std::int64_t window : {0, 24, 100}) {
          Problem problem(shape, step.seqs, dtype);
          if (window > 0) problem.free_blocks_before(window);

          const std::vector<float> actual = problem.on_gpu(window, step.num_decodes, dtype);

          expect_near(actual, problem.on_cpu(window), tolerance(dtype),
                      std::string(name_of(dtype)) + " heads " + std::to_string(shape.num_heads) +
                          "/" + std::to_string(shape.num_kv_heads) + " of " +
                          std::to_string(shape.head_dim) + ", window " + std::to_string(window) +
                          ", " + std::to_string(step.seqs.size()) + " sequences");
        }
      }
    }
  }
}

TEST(CudaAttention, ManyDecodesAgreeWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  std::vector<Sequence> seqs;
  for (std::int64_t i = 0; i < 150; ++i) seqs.push_back({i * 37 % 400, 1});
  Problem problem({32, 4, 128, 16}, seqs, DType::bfloat16);

  const std::vector<float> actual = problem.on_gpu(0, 150, DType::bfloat16);

  expect_near(actual, problem.on_cpu(0), tolerance(DType::bfloat16), "150 decodes");
}

}  // namespace
}  // namespace trireme::kernels
