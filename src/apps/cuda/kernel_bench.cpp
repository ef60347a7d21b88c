#include "apps/cuda/kernel_bench.h"

#include <algorithm>
#include <cstdio>

#include "apps/bench_operators.h"
#include "apps/cuda/operator_timer.h"
#include "base/error.h"
#include "kernels/sampling.h"
#include "models/families.h"

namespace trireme::apps {
namespace {

/// What the kernels take, which a config.json may exceed.
void check_limits(const checkpoint::ModelConfig& model) {
  constexpr std::int64_t kMostExperts = 1024, kMostHeadDim = 256;
  const auto check = [&](const char* key, std::int64_t value, std::int64_t most) {
    if (value <= most) return;
    fail(ErrorKind::config, cat(model.model_dir, "/config.json: ", key, " is ", value,
                                ", expected at most ", most, " on a GPU"));
  };
  check("head_dim", model.head_dim, kMostHeadDim);
  check("num_experts", model.num_experts, kMostExperts);
  check("vocab_size", model.vocab_size, kernels::cuda::kMostSampledIds);
}

/// Microseconds of a step, and those that its bounds allow.
struct StepTime {
  double us = 0, bound_us = 0;

  void add(const BenchOperator& op, double op_us, double op_bound_us) {
    us += static_cast<double>(op.per_step) * op_us;
    bound_us += static_cast<double>(op.per_step) * op_bound_us;
  }
  void print(const std::string& what) const {
    std::printf("  %s: %.3f ms, bound %.3f ms, %.0f %%\n", what.c_str(), us / 1e3, bound_us / 1e3,
                100 * bound_us / us);
  }
};

class KernelBench {
 public:
  explicit KernelBench(const KernelBenchOptions& options)
      : options_(options), tables_(make_tables()), timer_(make_timer()) {}

  void run() {
    std::printf("%s, %s, decodes on %ld keys\n", tensor::device_name().c_str(),
                std::string(name_of(options_.dtype)).c_str(), options_.context);
    ceilings_ = timer_.ceilings();
    std::printf(
        "copy %.0f GB/s (read + written), read only %.0f GB/s, product of 8192 x 8192 x 8192 "
        "%.0f TFLOP/s\n",
        ceilings_.copy_bytes_per_us / 1e3, ceilings_.read_bytes_per_us / 1e3,
        ceilings_.operations_per_us / 1e6);
    for (std::size_t i = 0; i < tables_.size(); ++i) print_table(options_.tokens[i], tables_[i]);
    timer_.save_products();
  }

 private:
  std::vector<std::vector<BenchOperator>> make_tables() {
    const checkpoint::ModelConfig config =
        checkpoint::load_model_config(options_.model_dir, models::known_architectures());
    check_limits(config);
    design_ = models::design_of(config);
    std::vector<std::vector<BenchOperator>> tables;
    for (const std::int64_t tokens : options_.tokens) {
      tables.push_back(selected(step_operators(design_, options_.dtype, tokens, options_.context),
                                options_.parts));
    }
    return tables;
  }
  OperatorTimer make_timer() const {
    std::vector<BenchOperator> all;
    for (const auto& table : tables_) all.insert(all.end(), table.begin(), table.end());
    return {design_, options_.dtype, all};
  }
  void print_table(std::int64_t tokens, const std::vector<BenchOperator>& operators);
  double print_line(const BenchOperator& op, double us) const;

  KernelBenchOptions options_;
  models::DecoderDesign design_;
  std::vector<std::vector<BenchOperator>> tables_;  // by number of tokens
  OperatorTimer timer_;
  Ceilings ceilings_;
};

void KernelBench::print_table(std::int64_t tokens, const std::vector<BenchOperator>& operators) {
  std::printf("\n%ld tokens\n  %-22s %-36s %6s %10s %6s %8s  %-7s %6s\n", tokens, "operator",
              "shape", "a step", "us", "GB/s", "TFLOP/s", "bound", "share");
  StepTime decodes, prompt;
  for (const BenchOperator& op : operators) {
    const double us = timer_.microseconds(op);
    const double bound_us = print_line(op, us);
    if (op.kind != OperatorKind::attention_prompt) decodes.add(op, us, bound_us);
    if (op.kind != OperatorKind::attention_decodes && op.is_of_layers) {
      prompt.add(op, us, bound_us);
    }
  }
  if (!options_.parts.empty()) return;
  if (tokens <= kMostBenchLogitRows) decodes.print(cat("a step of ", tokens, " decodes"));
  prompt.print(cat("a prompt of ", tokens, " tokens, without its logits"));
}

/// Gives the bound in microseconds.
double KernelBench::print_line(const BenchOperator& op, double us) const {
  const double moving_us = op.bytes / ceilings_.copy_bytes_per_us;
  const double computing_us = op.operations / ceilings_.operations_per_us;
  const double bound_us = std::max(moving_us, computing_us);
  char rate[32] = "";
  if (op.operations > 0) std::snprintf(rate, sizeof rate, "%.1f", op.operations / us * 1e-6);
  std::printf("  %-22s %-36s %6ld %10.2f %6.0f %8s  %-7s %4.0f %%\n", op.name.c_str(),
              op.shape.c_str(), op.per_step, us, op.bytes / us * 1e-3, rate,
              moving_us >= computing_us ? "memory" : "product", 100 * bound_us / us);
  std::fflush(stdout);
  return bound_us;
}

}  // namespace

void run_kernel_bench(const KernelBenchOptions& options) { KernelBench(options).run(); }

}  // namespace trireme::apps
