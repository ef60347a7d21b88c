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

  std::vector<float> on_gpu(std::int64_t window, std::int64_t num_decodes, DType dtype) {
    return on_gpu(window, num_decodes, dtype, 0, q_begin_.size() - 1);
  }
  /// One sequence by itself.
  std::vector<float> on_gpu_alone(std::int64_t window, DType dtype, std::size_t seq) {
    return on_gpu(window, 0, dtype, seq, seq + 1);
  }
  /// Where a sequence's results begin.
  std::size_t out_begin(std::size_t seq) const {
    return static_cast<std::size_t>(q_begin_[seq] * shape_.num_heads * shape_.head_dim);
  }

 private:
  /// The results of sequences [begin, end). Twice, since the workspace must be left as it was
  /// found.
  std::vector<float> on_gpu(std::int64_t window, std::int64_t num_decodes, DType dtype,
                            std::size_t begin, std::size_t end) {
    std::vector<std::int32_t> q_begins(q_begin_.begin() + static_cast<std::ptrdiff_t>(begin),
                                       q_begin_.begin() + static_cast<std::ptrdiff_t>(end) + 1);
    for (std::int32_t& token : q_begins) token -= q_begin_[begin];
    const tensor::Stream stream;
    const Bytes q = upload(q_), k = upload(k_), v = upload(v_);
    const Bytes out = room_for(static_cast<std::int64_t>(out_begin(end) - out_begin(begin)), dtype);
    const OnDevice<std::int32_t> q_begin(q_begins), first_position(first_position_),
        block_table(block_table_);
    const Bytes workspace(
        std::vector<std::uint8_t>(cuda::attention_workspace_bytes(shape_.head_dim)));
    for (int run = 0; run < 2; ++run) {
      stream.fill(out.data(), 0xff, out.values().size());
      cuda::attention(
          {.q = q.data() + static_cast<std::size_t>(q_begin_[begin] * q_stride()) * size_of(dtype),
           .q_stride = q_stride(),
           .num_heads = shape_.num_heads,
           .scale = 0.17f,
           .window = window,
           .cache = make_cache(k.data(), v.data(), dtype),
           .batch = {static_cast<std::int64_t>(end - begin), q_begin.data(),
                     first_position.data() + begin,
                     block_table.data() + begin * static_cast<std::size_t>(max_blocks_),
                     max_blocks_, nullptr, num_decodes},
           .num_tokens = q_begins.back(),
           .out = out.data(),
           .workspace = workspace.data()},
          stream.get());
    }
    stream.synchronize();
    return to_floats(out.values(), dtype);
  }

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

const std::vector<DType> kHalfTypes = {DType::bfloat16, DType::float16};

/// Chunks that Hopper's kernel for long ones takes, in every way to lie across its tiles.
TEST(CudaAttention, LongChunksAgreeWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  const std::vector<Shape> shapes = {{3, 3, 128, 64}, {8, 2, 128, 16},  {16, 2, 128, 64},
                                     {16, 1, 128, 8}, {4, 4, 64, 16},   {32, 2, 64, 64},
                                     {15, 3, 64, 8},  {14, 2, 128, 256}};
  const std::vector<Step> steps = {
      {{{0, 700}, {333, 1}, {37, 255}, {129, 127}, {5, 257}}, 0},
      {{{77, 1}, {0, 0}, {1, 513}, {450, 64}, {64, 500}}, 2},
  };
  for (const DType dtype : kHalfTypes) {
    for (const Shape& shape : shapes) {
      for (const Step& step : steps) {
        for (const std::int64_t window : {0, 70, 300}) {
          Problem problem(shape, step.seqs, dtype);
          if (window > 0) problem.free_blocks_before(window);

          const std::vector<float> actual = problem.on_gpu(window, step.num_decodes, dtype);

          expect_near(actual, problem.on_cpu(window), tolerance(dtype),
                      std::string(name_of(dtype)) + " heads " + std::to_string(shape.num_heads) +
                          "/" + std::to_string(shape.num_kv_heads) + " of " +
                          std::to_string(shape.head_dim) + ", blocks of " +
                          std::to_string(shape.tokens_per_block) + ", window " +
                          std::to_string(window));
        }
      }
    }
  }
}

TEST(CudaAttention, ChunksOfAnyLengthAgreeWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  for (const std::int64_t tokens_per_block : {16, 64}) {
    for (std::int64_t length = 32; length <= 700; length += 29) {
      // 32 tokens of four heads are the least that the kernel for long chunks takes.
      const std::int64_t first = length * 7 % 201 + 1;
      Problem problem({8, 2, 128, tokens_per_block}, {{first, length}}, DType::bfloat16);

      const std::vector<float> actual = problem.on_gpu(0, 0, DType::bfloat16);

      expect_near(actual, problem.on_cpu(0), tolerance(DType::bfloat16),
                  std::to_string(length) + " tokens from " + std::to_string(first) +
                      ", blocks of " + std::to_string(tokens_per_block));
    }
  }
}

TEST(CudaAttention, RowsOfLongChunksAreTheSameInAnyCompany) {
  TRIREME_REQUIRES_GPU();
  const std::vector<Sequence> seqs = {{3, 200}, {0, 135}, {290, 129}, {17, 400}, {0, 128}};
  for (const std::int64_t head_dim : {64, 128}) {
    for (const std::int64_t window : {0, 150}) {
      Problem problem({8, 2, head_dim, 64}, seqs, DType::bfloat16);
      const std::vector<float> together = problem.on_gpu(window, 0, DType::bfloat16);
      for (std::size_t seq = 0; seq < seqs.size(); ++seq) {
        const std::vector<float> alone = problem.on_gpu_alone(window, DType::bfloat16, seq);

        EXPECT_TRUE(
            std::equal(alone.begin(), alone.end(),
                       together.begin() + static_cast<std::ptrdiff_t>(problem.out_begin(seq))))
            << "sequence " << seq << ", head_dim " << head_dim << ", window " << window;
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
