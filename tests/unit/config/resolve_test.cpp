#include "config/resolve.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme::config {
namespace {

TEST(Resolve, FillsTheDefaultsOfTheCpu) {
  RunConfig config;
  config.parallel.tensor_parallel_size = 2;
  config.paths.output = "r.h5";

  const RunConfig resolved = resolve(config, {.world = 8, .ranks_on_node = 4, .cores_on_node = 18});

  EXPECT_EQ(resolved.parallel.data_parallel_size, 4);
  EXPECT_EQ(resolved.parallel.moe_tensor_parallel_size, 2);
  EXPECT_EQ(resolved.parallel.moe_expert_parallel_size, 1);
  EXPECT_EQ(resolved.limits.max_batch_size, 64);
  EXPECT_EQ(resolved.limits.max_num_tokens, 2048);
  EXPECT_EQ(resolved.moe.max_num_tokens, 2048);
  EXPECT_EQ(resolved.kv_cache.tokens_per_block, 16);
  EXPECT_EQ(resolved.limits.threads_per_rank, 4);
  EXPECT_EQ(resolved.limits.tokenizer_threads, 2);
  EXPECT_EQ(resolved.device, "cpu");
  EXPECT_EQ(resolved.comm, "mpi");
  EXPECT_EQ(resolved.dtype, "float32");
  EXPECT_EQ(resolved.paths.run_dir, "r.h5.run");
}

TEST(Resolve, FillsTheDefaultsOfTheGpu) {
  const RunConfig resolved = resolve(RunConfig{}, {.world = 2, .has_gpu = true});

  EXPECT_EQ(resolved.device, "cuda");
  EXPECT_EQ(resolved.comm, "nccl");
  EXPECT_EQ(resolved.dtype, "auto");
  EXPECT_EQ(resolved.limits.max_batch_size, 1024);
  EXPECT_EQ(resolved.limits.max_num_tokens, 8192);
  EXPECT_EQ(resolved.kv_cache.tokens_per_block, 64);
  EXPECT_EQ(resolved.limits.threads_per_rank, 1);
  EXPECT_EQ(resolved.limits.tokenizer_threads, 1);
}

TEST(Resolve, KeepsWhatIsGiven) {
  RunConfig config;
  config.parallel.tensor_parallel_size = 8;
  config.parallel.moe_expert_parallel_size = 4;
  config.parallel.enable_attention_dp = true;
  config.limits.max_num_tokens = 100;
  config.limits.max_batch_size = 10;
  config.device = "cpu";
  config.dtype = "bfloat16";
  config.paths.run_dir = "here";

  const RunConfig resolved = resolve(config, {.world = 8, .has_gpu = true});
  const ResolvedParallel sizes = resolved_parallel(resolved);

  EXPECT_EQ(sizes.tp, 8);
  EXPECT_EQ(sizes.dp, 1);
  EXPECT_EQ(sizes.moe_tp, 2);
  EXPECT_EQ(sizes.moe_ep, 4);
  EXPECT_TRUE(sizes.attention_dp);
  EXPECT_FALSE(sizes.helix);
  EXPECT_EQ(resolved.moe.max_num_tokens, 800);
  EXPECT_EQ(resolved.limits.max_batch_size, 10);
  EXPECT_EQ(resolved.dtype, "bfloat16");
  EXPECT_EQ(resolved.comm, "mpi");
  EXPECT_EQ(resolved.paths.run_dir, "here");
}

TEST(Resolve, SpansTheExpertsOverTheStageWithHelix) {
  ParallelSizes sizes;
  sizes.tensor_parallel_size = 4;
  sizes.context_parallel_size = 2;
  sizes.cp_type = "helix";
  sizes.moe_tensor_parallel_size = 2;

  EXPECT_EQ(ffn_size(sizes), 8);
  EXPECT_EQ(moe_sizes(sizes)->ep, 4);
}

TEST(Resolve, RefusesASizeThatDoesNotFit) {
  RunConfig config;
  config.parallel.tensor_parallel_size = 3;

  EXPECT_THROW(resolve(config, {.world = 8}), Error);
}

}  // namespace
}  // namespace trireme::config
