// Speed of attention over the paged cache: prompts by multiply-adds, decoding by bytes of keys and
// values. usage: attention_bench [threads [generic|avx2|avx512_bf16]]

#include "kernels/attention.h"

#include <omp.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "machine.h"

namespace {

using namespace trireme;
using kernels::cpu::InstructionSet;

struct Shape {
  std::int64_t num_heads, num_kv_heads, head_dim;
};

struct Case {
  std::int64_t num_seqs, num_cached, num_new;
};

void measure(const Shape& shape, const Case& work, DType dtype, InstructionSet set, double peak) {
  const std::int64_t block_size = 16;
  const std::int64_t length = work.num_cached + work.num_new;
  const std::int64_t max_blocks = (length + block_size - 1) / block_size;
  const std::int64_t num_blocks = work.num_seqs * max_blocks;
  const std::int64_t cache_size = num_blocks * block_size * shape.num_kv_heads * shape.head_dim;
  std::vector<std::byte> k(static_cast<std::size_t>(cache_size) * size_of(dtype)), v(k.size());
  const kernels::KvCache cache{k.data(),           v.data(),   dtype,         num_blocks,
                               shape.num_kv_heads, block_size, shape.head_dim};
  std::vector<std::int32_t> q_begin = {0}, first, table;
  for (std::int64_t seq = 0; seq < work.num_seqs; ++seq) {
    q_begin.push_back(static_cast<std::int32_t>((seq + 1) * work.num_new));
    first.push_back(static_cast<std::int32_t>(work.num_cached));
    for (std::int64_t block = 0; block < max_blocks; ++block) {
      table.push_back(static_cast<std::int32_t>((seq * max_blocks + block) * 7919 % num_blocks));
    }
  }
  const std::int64_t row_size = shape.num_heads * shape.head_dim;
  std::vector<float> q(static_cast<std::size_t>(work.num_seqs * work.num_new * row_size), 0.5f);
  std::vector<float> out(q.size());
  const kernels::AttentionBatch batch{work.num_seqs, q_begin.data(), first.data(), table.data(),
                                      max_blocks};
  const double seconds = bench::best_seconds([&] {
    kernels::cpu::attention(q.data(), row_size, shape.num_heads, 0.125f, 0, cache, batch,
                            out.data(), set);
  });
  const auto pairs =
      static_cast<double>(work.num_seqs * work.num_new) *
      (static_cast<double>(work.num_cached) + static_cast<double>(work.num_new + 1) / 2);
  const double gflops = 4 * pairs * static_cast<double>(row_size) / seconds / 1e9;
  std::printf(
      "heads=%ld kv_heads=%ld head_dim=%ld kv=%s seqs=%ld cached=%ld new=%ld us=%.1f "
      "gflops=%.0f of_peak=%.2f kv_gb_s=%.1f\n",
      shape.num_heads, shape.num_kv_heads, shape.head_dim, std::string(name_of(dtype)).c_str(),
      work.num_seqs, work.num_cached, work.num_new, seconds * 1e6, gflops, gflops / peak,
      2 * static_cast<double>(k.size()) / seconds / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : omp_get_max_threads();
  InstructionSet set = kernels::cpu::detect_instruction_set();
  for (const auto each : {InstructionSet::generic, InstructionSet::avx2}) {
    if (argc > 2 && std::string(argv[2]) == kernels::cpu::name_of(each)) set = each;
  }
  omp_set_num_threads(threads);
  const double peak = bench::peak_flops(threads, set, false);
  std::printf("set=%s threads=%d peak_gflops=%.0f\n", name_of(set), threads, peak);
  for (const Shape& shape : {Shape{9, 3, 64}, Shape{32, 8, 128}}) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
      for (const Case& work : {Case{1, 0, 512}, Case{1, 3584, 512}, Case{1, 512, 1},
                               Case{1, 4096, 1}, Case{32, 160, 1}}) {
        measure(shape, work, dtype, set, peak);
      }
    }
  }
}
