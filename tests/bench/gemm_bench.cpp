// Speed of the matrix products beside what the machine can do, measured in the same run.
// usage: gemm_bench [threads [generic|avx2|avx512_bf16 [float32|bfloat16|float16 (weights)]]]

#include <omp.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "machine.h"

namespace {

using namespace trireme;
using kernels::cpu::Gemm;
using kernels::cpu::InstructionSet;

struct Options {
  int threads = omp_get_max_threads();
  InstructionSet set = kernels::cpu::detect_instruction_set();
  DType weight_dtype = DType::bfloat16;
};

Options read_options(int argc, char** argv) {
  Options options;
  if (argc > 1) options.threads = std::atoi(argv[1]);
  for (const auto set :
       {InstructionSet::generic, InstructionSet::avx2, InstructionSet::avx512_bf16}) {
    if (argc > 2 && std::string(argv[2]) == kernels::cpu::name_of(set)) options.set = set;
  }
  if (argc > 3) options.weight_dtype = float_dtype_from_name(argv[3]).value_or(DType::bfloat16);
  return options;
}

struct Shape {
  std::int64_t n, k;
};

/// Copies of the weights in turn, so that they come from memory as a model's layers do.
double seconds_of(Gemm& gemm, const Options& options, Shape shape, std::int64_t m) {
  const auto bytes = static_cast<std::size_t>(shape.n * shape.k) * size_of(options.weight_dtype);
  const std::size_t copies = (std::size_t{160} << 20) / bytes + 1;
  const bench::Memory weights(copies * bytes);
  std::vector<float> x(static_cast<std::size_t>(m * shape.k), 0.5f);
  std::vector<float> y(static_cast<std::size_t>(m * shape.n));
  std::size_t copy = 0;
  return bench::best_seconds([&] {
    copy = (copy + 1) % copies;
    gemm.run({.x = x.data(),
              .x_stride = shape.k,
              .weight = weights.data() + copy * bytes,
              .weight_dtype = options.weight_dtype,
              .y = y.data(),
              .y_stride = shape.n,
              .m = m,
              .n = shape.n,
              .k = shape.k});
  });
}

void measure(const Options& options, bool round_to_bf16, double bandwidth) {
  const bool pairs = round_to_bf16 && options.set == InstructionSet::avx512_bf16 &&
                     options.weight_dtype == DType::bfloat16;
  const double peak = bench::peak_flops(options.threads, options.set, pairs);
  std::printf("set=%s weights=%s round_to_bf16=%d threads=%d peak_gflops=%.0f read_gb_s=%.1f\n",
              name_of(options.set), std::string(name_of(options.weight_dtype)).c_str(),
              round_to_bf16, options.threads, peak, bandwidth);
  Gemm gemm(options.set, round_to_bf16);
  for (const Shape shape : {Shape{576, 576}, Shape{960, 576}, Shape{3072, 576}, Shape{576, 1536},
                            Shape{49152, 576}, Shape{4096, 4096}}) {
    for (const std::int64_t m : {1, 4, 8, 32, 128, 512}) {
      const double seconds = seconds_of(gemm, options, shape, m);
      const auto weights = static_cast<double>(shape.n * shape.k);
      const double flops = 2 * weights * static_cast<double>(m) / seconds / 1e9;
      const double bytes =
          weights * static_cast<double>(size_of(options.weight_dtype)) / seconds / 1e9;
      std::printf(
          "n=%-5ld k=%-4ld m=%-3ld us=%-8.1f gflops=%-6.0f of_peak=%.2f gb_s=%-5.1f "
          "of_read=%.2f\n",
          shape.n, shape.k, m, seconds * 1e6, flops, flops / peak, bytes, bytes / bandwidth);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  omp_set_num_threads(options.threads);
  const double bandwidth = bench::read_bandwidth(options.threads);
  if (options.set == InstructionSet::avx512_bf16) measure(options, true, bandwidth);
  measure(options, false, bandwidth);
}
