#include "config/validate.h"

#include <gtest/gtest.h>

#include <limits>

#include "config/command_line.h"
#include "refusal.h"

namespace trireme::config {
namespace {

/// What a job of `world` ranks says to a configuration.
std::string verdict(const std::string& yaml, const Surroundings& surroundings) {
  return refusal(ErrorKind::config, [&] {
    Loaded loaded;
    apply_yaml(yaml, "c.yaml", loaded);
    require_valid(loaded, surroundings);
  });
}

struct Broken {
  std::string yaml;
  std::string message;  ///< the whole of it, behind "configuration: "
  Surroundings surroundings = {.world = 8};
};

void expect_broken(const std::vector<Broken>& cases) {
  for (const Broken& broken : cases) {
    EXPECT_EQ(verdict(broken.yaml, broken.surroundings), "configuration: " + broken.message)
        << broken.yaml;
  }
}

TEST(Validate, AcceptsTheDefaultsAtAnySize) {
  for (const std::int64_t world : {1, 2, 3, 8, 1000}) {
    EXPECT_EQ(verdict("n: 1\n", {.world = world}), "accepted");
    EXPECT_EQ(verdict("n: 1\n", {.world = world, .has_gpu = true}), "accepted");
  }
}

TEST(Validate, Rule1ProductOfSizesIsTheWorld) {
  const std::string sizes =
      "tensor_parallel_size 3 x pipeline_parallel_size 1 x context_parallel_size 1";
  expect_broken(
      {{"tensor_parallel_size: 3\n", sizes + " is 3, expected a divisor of the job's 8 ranks"},
       {"tensor_parallel_size: 3\ndata_parallel_size: 2\n",
        sizes + " x data_parallel_size 2 is 6, expected the job's 8 ranks"},
       {"tensor_parallel_size: 3\n",
        sizes + " is 3, expected a divisor of the job's 1 rank",
        {.world = 1}}});
  EXPECT_EQ(verdict("tensor_parallel_size: 2\npipeline_parallel_size: 2\n", {.world = 8}),
            "accepted");
  EXPECT_EQ(verdict("tensor_parallel_size: 2\ndata_parallel_size: 4\n", {.world = 8}), "accepted");
}

TEST(Validate, Rule1HoldsForProductsThatDoNotFit) {
  const std::string message = verdict(
      "tensor_parallel_size: 1048576\npipeline_parallel_size: 1048576\n"
      "data_parallel_size: 1048576\n",
      {.world = 8});

  expect_in("data_parallel_size 1048576 is 1152921504606846976, expected the job's 8 ranks",
            message);
  RunConfig config;
  config.parallel.tensor_parallel_size = config.parallel.pipeline_parallel_size =
      config.parallel.data_parallel_size = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(validate(config, {.world = 8}).size(), 3u);
}

TEST(Validate, Rule2NumbersAreInRange) {
  expect_broken(
      {{"tensor_parallel_size: 0\n",
        "tensor_parallel_size is '0', expected a whole number from 1 to 1048576 (c.yaml line 1)"},
       {"data_parallel_size: 0\n",
        "data_parallel_size is '0', expected a whole number from 1 to 1048576 (c.yaml line 1)"},
       {"pipeline_parallel_size: -1\n",
        "pipeline_parallel_size is '-1', expected a whole number from 1 to 1048576 (c.yaml line "
        "1)"},
       {"max_seq_len: 2147483648\n",
        "max_seq_len is '2147483648', expected a whole number from 2 to 2147483647 (c.yaml line "
        "1)"}});
}

TEST(Validate, Rule2HoldsForValuesThatNoFileGave) {
  RunConfig config;
  config.parallel.tensor_parallel_size = -1;
  config.limits.max_batch_size = std::int64_t{1} << 40;
  config.kv_cache.free_gpu_memory_fraction = std::numeric_limits<double>::quiet_NaN();
  config.sampling.temperature = std::numeric_limits<double>::infinity();
  config.parallel.pipeline_layers = {0};

  std::string all;
  for (const Fault& fault : validate(config, {.world = 8})) all += fault.message + "\n";

  EXPECT_EQ(all,
            "tensor_parallel_size is -1, expected a whole number from 1 to 1048576\n"
            "pipeline_layers is [0], expected a list of whole numbers from 1, such as [3, 2]\n"
            "max_batch_size is 1099511627776, expected a whole number from 1 to 1048576\n"
            "kv_cache_config.free_gpu_memory_fraction is nan, expected a number above 0, at most "
            "1\n"
            "temperature is inf, expected 0 (greedy) or a number from 0.01 to 1000\n");
}

TEST(Validate, Rule3ExpertSizesMultiplyToTensorParallelSize) {
  expect_broken(
      {{"tensor_parallel_size: 8\nmoe_tensor_parallel_size: 2\nmoe_expert_parallel_size: 2\n",
        "moe_tensor_parallel_size 2 x moe_expert_parallel_size 2 is 4, expected "
        "tensor_parallel_size 8"},
       {"tensor_parallel_size: 8\nmoe_expert_parallel_size: 3\n",
        "moe_expert_parallel_size is 3, expected a divisor of tensor_parallel_size 8"},
       {"tensor_parallel_size: 8\nmoe_tensor_parallel_size: 16\n",
        "moe_tensor_parallel_size is 16, expected a divisor of tensor_parallel_size 8"},
       {"moe_expert_parallel_size: 8\n",
        "moe_expert_parallel_size is 8, expected a divisor of tensor_parallel_size 1"}});
}

TEST(Validate, Rule9PipelineLayersHasAnEntryForEachStage) {
  expect_broken(
      {{"pipeline_parallel_size: 4\npipeline_layers: [1, 2, 3]\n",
        "pipeline_layers is [1,2,3], expected an entry for each stage, and pipeline_parallel_size "
        "is 4"},
       {"pipeline_layers: [2, 0]\n",
        "pipeline_layers is ['2', '0'], expected a list of whole numbers from 1, such as [3, 2] "
        "(c.yaml line "
        "1)"}});
}

TEST(Validate, Rule10ContextParallelismIsRefusedByName) {
  expect_broken({{"context_parallel_size: 2\n",
                  "context_parallel_size is 2, expected 1: context parallelism is not in this "
                  "build yet"},
                 {"cp_config:\n  cp_type: star\n",
                  "cp_config.cp_type is 'star', expected ring, ulysses or helix (c.yaml line 2)"}});
}

TEST(Validate, Rule11StepLimitsFitEachOther) {
  expect_broken(
      {{"max_batch_size: 16\nmax_num_tokens: 8\n",
        "max_num_tokens is 8, expected at least max_batch_size, which is 16"},
       {"max_num_tokens: 32\n",
        "max_num_tokens is 32, expected at least max_batch_size, which is 64 by default"},
       {"max_batch_size: 4096\n",
        "max_num_tokens is 'auto', expected at least max_batch_size, which is 4096 (the default "
        "is 2048)"},
       {"max_num_tokens: 512\n",
        "max_num_tokens is 512, expected at least max_batch_size, which is 1024 by default",
        {.world = 8, .has_gpu = true}},
       {"enable_chunked_prefill: false\nmax_seq_len: 200\nmax_num_tokens: 100\n",
        "max_num_tokens is 100, expected at least max_seq_len, which is 200, while "
        "enable_chunked_prefill is false"},
       {"max_batch_size: 0\n",
        "max_batch_size is '0', expected a whole number from 1 to 1048576 (c.yaml line 1)"},
       {"max_num_tokens: 0\n",
        "max_num_tokens is '0', expected a whole number from 1 to 16777216 (c.yaml line 1)"},
       {"max_seq_len: 1\n",
        "max_seq_len is '1', expected a whole number from 2 to 2147483647 (c.yaml line 1)"}});
}

TEST(Validate, Rule12BlocksAndMemoryFraction) {
  const std::string power = ", expected a power of two from 8 to 256 (c.yaml line 1)";
  const std::string fraction = ", expected a number above 0, at most 1 (c.yaml line 1)";
  std::vector<Broken> cases;
  for (const char* tokens : {"4", "24", "512", "0"}) {
    cases.push_back({cat("kv_cache_config: {tokens_per_block: ", tokens, "}\n"),
                     cat("kv_cache_config.tokens_per_block is '", tokens, "'", power)});
  }
  for (const char* share : {"0", "1.01", "-0.5"}) {
    cases.push_back({cat("kv_cache_config: {free_gpu_memory_fraction: ", share, "}\n"),
                     cat("kv_cache_config.free_gpu_memory_fraction is '", share, "'", fraction)});
  }
  expect_broken(cases);
}

TEST(Validate, Rule13NamesAreKnownAndFitTheDevice) {
  expect_broken(
      {{"device: tpu\n", "device is 'tpu', expected auto, cpu or cuda (c.yaml line 1)"},
       {"comm: gloo\n", "comm is 'gloo', expected auto, mpi, nccl or peer (c.yaml line 1)"},
       {"dtype: int8\n",
        "dtype is 'int8', expected auto, float32, bfloat16 or float16 (c.yaml line 1)"},
       {"comm: nccl\ndevice: cpu\n", "comm is 'nccl', expected mpi, since device is cpu"},
       {"comm: peer\n", "comm is 'peer', expected mpi, since device is cpu"},
       {"device: cuda\n",
        "device is 'cuda', expected cpu, since this build or this machine has no GPU (--device "
        "cpu)",
        {.world = 8, .must_run = true}}});
  EXPECT_EQ(verdict("device: cuda\ncomm: nccl\n", {.world = 8}), "accepted");
  EXPECT_EQ(verdict("comm: peer\n", {.world = 8, .has_gpu = true, .must_run = true}), "accepted");
}

TEST(Validate, Rule15SamplingValuesAreInRange) {
  const std::vector<std::pair<std::string, std::string>> values = {
      {"temperature: 0.001", "0 (greedy) or a number from 0.01 to 1000"},
      {"temperature: -1", "0 (greedy) or a number from 0.01 to 1000"},
      {"top_p: 0", "a number above 0, at most 1"},
      {"top_p: 1.5", "a number above 0, at most 1"},
      {"min_p: -0.1", "a number from 0 to 1"},
      {"min_p: 2", "a number from 0 to 1"},
      {"top_k: -1", "a whole number from 0 to 2147483647"},
      {"n: 0", "a whole number from 1 to 256"},
      {"n: 257", "a whole number from 1 to 256"},
      {"logprobs: 21", "true, false or a whole number from 0 to 20"},
      {"max_tokens: -1", "a whole number from 0 to 2147483647"},
      {"min_tokens: -1", "a whole number from 0 to 2147483647"},
      {"seed: -1", "a whole number from 0 to 18446744073709551615"},
      {"repetition_penalty: 0", "a number above 0, at most 100"},
      {"presence_penalty: 3", "a number from -2 to 2"},
      {"frequency_penalty: -3", "a number from -2 to 2"},
  };
  std::vector<Broken> cases;
  for (const auto& [yaml, expected] : values) {
    const std::size_t colon = yaml.find(':');
    cases.push_back({yaml + "\n", cat(yaml.substr(0, colon), " is '", yaml.substr(colon + 2),
                                      "', expected ", expected, " (c.yaml line 1)")});
  }
  cases.push_back({"min_tokens: 5\nmax_tokens: 4\n",
                   "min_tokens is 5, expected at most max_tokens, which is 4"});
  expect_broken(cases);
  EXPECT_EQ(verdict("min_tokens: 4\nmax_tokens: 4\ntemperature: 0\n", {.world = 8}), "accepted");
}

TEST(Validate, ChecksSamplingValuesAlone) {
  SamplingDefaults sampling;
  sampling.top_p = 2;
  sampling.max_tokens = 1;
  sampling.min_tokens = 2;

  EXPECT_EQ(sampling_faults(sampling).size(), 2u);
  EXPECT_TRUE(sampling_faults({}).empty());
}

TEST(Validate, RefusesChoicesWithoutAFileForThem) {
  expect_broken({{"record_loads: none\nrecord_choices: true\n",
                  "record_choices is true, expected false, since record_loads is none and choices "
                  "stand in its file"}});
}

TEST(Validate, ListsEveryRuleThatIsBroken) {
  const std::string message = verdict(
      "tensor_parallel_size: 3\nmoe_expert_parallel_size: 2\ntop_p: 7\nmin_tokens: 300\n"
      "max_tokens: 3\nmax_num_tokens: 4\n",
      {.world = 8});

  expect_in("configuration: 5 errors", message);
  expect_in("a divisor of the job's 8 ranks", message);
  expect_in("a divisor of tensor_parallel_size 3", message);
}

TEST(Validate, SaysNothingThatFollowsFromAnotherFault) {
  EXPECT_EQ(verdict("tensor_paralel_size: 8\nmoe_expert_parallel_size: 8\n", {.world = 8}),
            "configuration: unknown key 'tensor_paralel_size', expected tensor_parallel_size? "
            "(c.yaml line 1)");
}

TEST(LauncherFault, Rule20MoreRanksAnnouncedThanMpiHas) {
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"}) {
    const std::optional<Fault> fault = launcher_fault({{name, "8"}}, 1);

    ASSERT_TRUE(fault.has_value());
    expect_in(cat(name, " is 8, but MPI has 1 rank, expected equal"), fault->message);
    expect_in("srun --mpi=pmix", fault->message);
    EXPECT_FALSE(launcher_fault({{name, "8"}}, 8).has_value());
    EXPECT_FALSE(launcher_fault({{name, "1"}}, 8).has_value());
  }
}

TEST(LauncherFault, IgnoresWhatIsNoNumber) {
  EXPECT_FALSE(launcher_fault({}, 1).has_value());
  EXPECT_FALSE(launcher_fault({{"PMI_SIZE", ""}}, 1).has_value());
  EXPECT_FALSE(launcher_fault({{"PMI_SIZE", "many"}}, 1).has_value());
  EXPECT_FALSE(launcher_fault({{"SOMETHING_ELSE", "9"}}, 1).has_value());
}

}  // namespace
}  // namespace trireme::config
