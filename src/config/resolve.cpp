#include "config/resolve.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace trireme::config {
namespace {

constexpr std::int64_t kProductLimit = std::int64_t{1} << 62;

/// The product, or 2^62 if it is not smaller.
std::int64_t saturated_product(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return kProductLimit;
  return std::min(product, kProductLimit);
}

void fill_parallel(ParallelSizes& sizes, std::int64_t world) {
  if (sizes.data_parallel_size == 0) sizes.data_parallel_size = world / smallest_world(sizes);
  const std::optional<MoeSizes> moe = moe_sizes(sizes);
  TRIREME_CHECK(moe.has_value() && smallest_world(sizes) == world, "world=", world);
  sizes.moe_tensor_parallel_size = moe->tp;
  sizes.moe_expert_parallel_size = moe->ep;
}

void fill_limits(RunConfig& config, bool on_cpu, const Surroundings& surroundings) {
  EngineLimits& limits = config.limits;
  if (limits.max_batch_size == 0) limits.max_batch_size = on_cpu ? 64 : 1024;
  if (limits.max_num_tokens == 0) limits.max_num_tokens = on_cpu ? 2048 : 8192;
  const int cores =
      std::max(1, surroundings.cores_on_node / std::max(1, surroundings.ranks_on_node));
  if (limits.threads_per_rank == 0) limits.threads_per_rank = cores;
  if (limits.tokenizer_threads == 0) limits.tokenizer_threads = cores >= 4 ? 2 : 1;
  if (config.kv_cache.tokens_per_block == 0) config.kv_cache.tokens_per_block = on_cpu ? 16 : 64;
  if (config.moe.max_num_tokens == 0) {
    const ParallelSizes& sizes = config.parallel;
    const std::int64_t sources = sizes.enable_attention_dp ? sizes.tensor_parallel_size : 1;
    config.moe.max_num_tokens = std::min<std::int64_t>(
        saturated_product(limits.max_num_tokens, sources), std::numeric_limits<int>::max());
  }
}

}  // namespace

std::int64_t ffn_size(const ParallelSizes& sizes) {
  return sizes.cp_type == "helix"
             ? saturated_product(sizes.tensor_parallel_size, sizes.context_parallel_size)
             : sizes.tensor_parallel_size;
}

std::optional<MoeSizes> moe_sizes(const ParallelSizes& sizes) {
  const std::int64_t ffn = ffn_size(sizes);
  std::int64_t tp = sizes.moe_tensor_parallel_size;
  std::int64_t ep = sizes.moe_expert_parallel_size;
  if (tp == 0 && ep == 0) return MoeSizes{ffn, 1};
  if (tp == 0) tp = ffn / ep;
  if (ep == 0) ep = ffn / tp;
  if (saturated_product(tp, ep) != ffn) return std::nullopt;
  return MoeSizes{tp, ep};
}

std::int64_t smallest_world(const ParallelSizes& sizes) {
  std::int64_t world = saturated_product(sizes.tensor_parallel_size, sizes.pipeline_parallel_size);
  world = saturated_product(world, sizes.context_parallel_size);
  return saturated_product(world, std::max<std::int64_t>(1, sizes.data_parallel_size));
}

std::string resolved_device(const RunConfig& config, const Surroundings& surroundings) {
  if (config.device != "auto") return config.device;
  return surroundings.has_gpu ? "cuda" : "cpu";
}

RunConfig resolve(const RunConfig& config, const Surroundings& surroundings) {
  RunConfig resolved = config;
  resolved.device = resolved_device(config, surroundings);
  const bool on_cpu = resolved.device == "cpu";
  if (resolved.comm == "auto") resolved.comm = on_cpu ? "mpi" : "nccl";
  if (resolved.dtype == "auto" && on_cpu) resolved.dtype = "float32";
  fill_parallel(resolved.parallel, surroundings.world);
  fill_limits(resolved, on_cpu, surroundings);
  IoPaths& paths = resolved.paths;
  if (paths.run_dir.empty() && !paths.output.empty()) paths.run_dir = paths.output + ".run";
  return resolved;
}

ResolvedParallel resolved_parallel(const RunConfig& resolved) {
  const ParallelSizes& sizes = resolved.parallel;
  const auto as_int = [](std::int64_t size) {
    TRIREME_CHECK(size >= 1 && size <= std::numeric_limits<int>::max(), "size=", size);
    return static_cast<int>(size);
  };
  return {.tp = as_int(sizes.tensor_parallel_size),
          .pp = as_int(sizes.pipeline_parallel_size),
          .cp = as_int(sizes.context_parallel_size),
          .dp = as_int(sizes.data_parallel_size),
          .moe_tp = as_int(sizes.moe_tensor_parallel_size),
          .moe_ep = as_int(sizes.moe_expert_parallel_size),
          .attention_dp = sizes.enable_attention_dp,
          .helix = sizes.cp_type == "helix"};
}

}  // namespace trireme::config
