#include "apps/bench_commands.h"
#include "apps/bench_operators.h"
#include "apps/cuda/kernel_bench.h"
#include "base/error.h"
#include "tensor/device.h"

namespace trireme::apps {
namespace {

constexpr const char* kDefaultTokens = "1,8,64,256,1000,8192";

config::Syntax bench_kernels_syntax() {
  return {
      .command = "bench kernels",
      .summary =
          "Times every operator of a step of a model on one GPU, each by itself, against what "
          "bounds it. Only MODEL/config.json is read; operands are random.",
      .examples = {"trireme bench kernels meta-llama/Llama-3.1-8B --tokens 1,256 --ops "
                   "attention,down"},
      .arguments = {"MODEL"},
      .flags = {{"tokens", "N,N,...", "Work",
                 std::string("rows of a step (default ") + kDefaultTokens + ")"},
                {"context", "N", "Work", "keys that each decode sees (default 640)"},
                {"ops", "PART,PART,...", "Work",
                 "operators whose names hold one of these (default: all)"},
                {"dtype", "TYPE", "Computing", "of weights and activations (default bfloat16)"}},
      .epilogue =
          "Microseconds of one call, GB/s of the bytes that must be moved, TFLOP/s, and the bound "
          "that\n"
          "holds: the larger of these bytes at the rate of a copy and of the operations at the "
          "rate of a\n"
          "large product, both measured first. What mostly reads can be faster than a copy. "
          "Kernels overlap\n"
          "with the one before, as in a step; with TRIREME_SERIAL_LAUNCHES=1 in the environment "
          "they do not."};
}

KernelBenchOptions kernel_options(const config::Options& options) {
  KernelBenchOptions bench;
  bench.model_dir = options.argument(0);
  bench.tokens = parse_tokens(options.value("tokens", kDefaultTokens));
  bench.context = options.whole("context", 1, 1 << 20).value_or(640);
  bench.parts = options.value("ops");
  const std::string dtype = options.value("dtype", "bfloat16");
  const auto known = float_dtype_from_name(dtype);
  if (!known) {
    fail(ErrorKind::usage, cat("trireme bench kernels: --dtype is '", dtype,
                               "', expected bfloat16, float16 or float32"));
  }
  bench.dtype = *known;
  constexpr std::int64_t kMostKeys = std::int64_t{1} << 32;
  for (const std::int64_t tokens : bench.tokens) {
    if (tokens * bench.context <= kMostKeys) continue;
    fail(ErrorKind::usage,
         cat("trireme bench kernels: ", tokens, " decodes (--tokens) of ", bench.context,
             " keys (--context) see ", tokens * bench.context, ", expected at most ", kMostKeys));
  }
  return bench;
}

int bench_kernels(const config::Options& options) {
  const KernelBenchOptions bench = kernel_options(options);
  if constexpr (tensor::kHasCuda) {
    if (tensor::num_devices() > 0) {
      tensor::use_device(0);
      run_kernel_bench(bench);
      return 0;
    }
  }
  fail(ErrorKind::config,
       "trireme bench kernels needs a GPU, and this build or this machine has none");
}

}  // namespace

Subcommand bench_kernels_subcommand() { return {bench_kernels_syntax(), bench_kernels}; }

}  // namespace trireme::apps
