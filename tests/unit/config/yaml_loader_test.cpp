#include "config/yaml_loader.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/dump_config.h"
#include "config/key_table.h"
#include "config/resolve.h"
#include "config/validate.h"
#include "refusal.h"

namespace trireme::config {
namespace {

Loaded loaded_from(const std::string& text) {
  Loaded loaded;
  apply_yaml(text, "c.yaml", loaded);
  return loaded;
}

std::string refused(const std::string& text) {
  return refusal(ErrorKind::config, [&text] { require_none(loaded_from(text).faults); });
}

TEST(ApplyYaml, ReadsFilesWrittenForTensorRtLlm) {
  struct Case {
    const char* text;
    int tp, moe_tp, moe_ep;
    bool attention_dp;
  };
  const std::vector<Case> cases = {
      {"tensor_parallel_size: 8\n", 8, 8, 1, false},
      {"tensor_parallel_size: 8\nenable_attention_dp: true\n", 8, 8, 1, true},
      {"tensor_parallel_size: 8\nmoe_tensor_parallel_size: 8\n", 8, 8, 1, false},
      {"tensor_parallel_size: 8\nmoe_expert_parallel_size: 8\n", 8, 1, 8, false},
      {"# 4 x 2\ntensor_parallel_size: 8\nenable_attention_dp: true\nmoe_tensor_parallel_size: 4\n"
       "moe_expert_parallel_size: 2\n",
       8, 4, 2, true},
  };
  for (const Case& c : cases) {
    const Loaded loaded = loaded_from(c.text);
    const Surroundings surroundings{.world = 8};
    require_valid(loaded, surroundings);

    const ResolvedParallel sizes = resolved_parallel(resolve(loaded.config, surroundings));

    EXPECT_EQ(sizes.tp, c.tp);
    EXPECT_EQ(sizes.moe_tp, c.moe_tp) << c.text;
    EXPECT_EQ(sizes.moe_ep, c.moe_ep) << c.text;
    EXPECT_EQ(sizes.attention_dp, c.attention_dp);
    EXPECT_TRUE(loaded.warnings.empty());
  }
}

TEST(ApplyYaml, WarnsOnceOfEachKeyThatMeansNothingHere) {
  const Loaded loaded = loaded_from(
      "backend: pytorch\n"
      "cuda_graph_config:\n  enable_padding: true\n  batch_sizes: [1, 2, 4]\n"
      "disable_overlap_scheduler: true\nprint_iter_log: false\nstream_interval: 20\n"
      "trust_remote_code: true\ngpus_per_node: 8\n"
      "attention_dp_config: {enable_balance: true}\nscheduler_config: {}\n"
      "allreduce_strategy: AUTO\nmax_beam_width: 1\n"
      "moe_config:\n  backend: CUTLASS\n  max_num_tokens: 4096\n"
      "kv_cache_config:\n  enable_block_reuse: false\n  max_attention_window: [128, 256]\n"
      "pp_partition: [3, 2]\npipeline_parallel_size: 2\n");

  EXPECT_TRUE(loaded.faults.empty());
  ASSERT_EQ(loaded.warnings.size(), 13u);
  EXPECT_EQ(loaded.warnings[0], "backend has no meaning here and is ignored (c.yaml line 1)");
  EXPECT_EQ(loaded.warnings[12],
            "kv_cache_config.max_attention_window has no meaning here and is ignored (c.yaml line "
            "19)");
  EXPECT_EQ(loaded.config.moe.max_num_tokens, 4096);
  EXPECT_FALSE(loaded.config.kv_cache.enable_block_reuse);
  EXPECT_EQ(loaded.config.parallel.pipeline_layers, (std::vector<std::int64_t>{3, 2}));
}

TEST(ApplyYaml, RefusesForeignKeysThatWouldChangeResults) {
  expect_in("max_beam_width is '4', expected 1 (c.yaml line 1)", refused("max_beam_width: 4\n"));
  expect_in("load_format is 'dummy', expected auto", refused("load_format: dummy\n"));
  expect_in("unknown key 'lora_config'", refused("lora_config: {}\n"));
}

TEST(ApplyYaml, ListsAllFaultsAtOnceWithLineAndNearestKey) {
  const std::string message = refused(
      "tensor_paralel_size: 8\n"
      "max_batch_size: many\n"
      "kv_cache_config:\n"
      "  token_per_block: 16\n"
      "  dtype: fp8\n"
      "tokens_per_block: 16\n"
      "moe_config: 5\n"
      "max_batch_size: 3\n"
      "n: 0\n");

  EXPECT_EQ(
      message,
      "configuration: 8 errors\n"
      "  unknown key 'tensor_paralel_size', expected tensor_parallel_size? (c.yaml line 1)\n"
      "  max_batch_size is 'many', expected a whole number from 1 to 1048576 (c.yaml line 2)\n"
      "  unknown key 'kv_cache_config.token_per_block', expected "
      "kv_cache_config.tokens_per_block? (c.yaml line 4)\n"
      "  kv_cache_config.dtype is 'fp8', expected auto, float32, bfloat16 or float16 (c.yaml "
      "line 5)\n"
      "  unknown key 'tokens_per_block', expected kv_cache_config.tokens_per_block? (c.yaml "
      "line 6)\n"
      "  moe_config is not a map, expected keys such as load_balancer (c.yaml line 7)\n"
      "  max_batch_size stands twice, expected once (lines 2 and 8 of c.yaml)\n"
      "  n is '0', expected a whole number from 1 to 256 (c.yaml line 9)");
}

TEST(ApplyYaml, FindsDuplicatesBehindSynonymsAndSections) {
  expect_in("pipeline_layers stands twice", refused("pp_partition: [1]\npipeline_layers: [1]\n"));
  expect_in("cp_config stands twice", refused("cp_config: {cp_type: ring}\ncp_config: {}\n"));
  expect_in("kv_cache_config.dtype stands twice, expected once (lines 3 and 3",
            refused("\n\nkv_cache_config: {dtype: auto, dtype: auto}\n"));
  expect_in("backend stands twice", refused("backend: a\nbackend: b\n"));
}

TEST(ApplyYaml, RefusesATextThatIsNoMap) {
  for (const char* text : {"", "# nothing\n", "- a\n- b\n", "just words\n", "42\n", "~\n"}) {
    expect_in("c.yaml: no map at the top", refused(text));
  }
}

TEST(ApplyYaml, StaysQuickAndShortForVeryManyFaults) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += cat("tensor_parallel_", i, ": 1\n");

  const std::string message = refused(text);

  expect_in("configuration: 40000 errors", message);
  expect_in("... and 39950 more", message);
  EXPECT_LT(message.size(), 10000u);
}

TEST(ApplySetting, SetsNestedKeysListsAndText) {
  Loaded loaded;
  apply_setting("kv_cache_config.tokens_per_block", "32", "--set", loaded);
  apply_setting("pipeline_layers", "3,2", "--set", loaded);
  apply_setting("stop", "###", "--stop", loaded);
  apply_setting("model", "2024", "--model", loaded);
  require_none(loaded.faults);

  EXPECT_EQ(loaded.config.kv_cache.tokens_per_block, 32);
  EXPECT_EQ(loaded.config.parallel.pipeline_layers, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(loaded.config.sampling.stop, std::vector<std::string>{"###"});
  EXPECT_EQ(loaded.config.paths.model, "2024");

  apply_setting("pipeline_layers", "[4, 1]", "--set", loaded);
  apply_setting("stop", "[a, b]", "--set", loaded);
  EXPECT_EQ(loaded.config.parallel.pipeline_layers, (std::vector<std::int64_t>{4, 1}));
  EXPECT_EQ(loaded.config.sampling.stop, (std::vector<std::string>{"a", "b"}));

  apply_setting("pipeline_layers", "auto", "--set", loaded);
  EXPECT_TRUE(loaded.config.parallel.pipeline_layers.empty());
}

TEST(ApplySetting, NamesBadSettings) {
  Loaded loaded;
  apply_setting("max_batch_sise", "3", "--set", loaded);
  apply_setting("pipeline_layers", "3,,2", "--pipeline-layers", loaded);
  apply_setting("kv_cache_config", "3", "--set", loaded);

  const std::string message =
      refusal(ErrorKind::config, [&loaded] { require_none(loaded.faults); });

  expect_in("unknown key 'max_batch_sise', expected max_batch_size? (--set)", message);
  expect_in("pipeline_layers is ['3', '', '2'], expected a list of whole numbers from 1", message);
  expect_in("kv_cache_config is not a map", message);
}

TEST(DumpConfig, IsAConfigurationFileOfTheSameValues) {
  Loaded loaded = loaded_from(
      "tensor_parallel_size: 2\nmax_tokens: 7\nseed: 18446744073709551615\ntemperature: 0.3\n"
      "stop: [\"a\\u00e9\\n\", \"7\"]\npipeline_layers: [1, 2]\nmodel: \"12\"\nlogprobs: true\n"
      "kv_cache_config: {host_memory_bytes: 2 GiB}\nlimit: 5\n");
  require_none(loaded.faults);
  const std::string dump = dump_config_text(loaded.config);

  Loaded again = loaded_from(dump);

  require_none(again.faults);
  EXPECT_EQ(dump_config_text(again.config), dump);
  EXPECT_EQ(again.config.sampling.stop, loaded.config.sampling.stop);
  EXPECT_EQ(again.config.sampling.seed, loaded.config.sampling.seed);
  EXPECT_EQ(again.config.sampling.temperature, loaded.config.sampling.temperature);
  EXPECT_EQ(again.config.paths.model, "12");
}

TEST(DumpConfig, HoldsEveryKeyAndTheWordsOfOpenOnes) {
  const Json dump = dump_config(RunConfig{});

  std::size_t num_values = 0;
  for (const auto& [name, value] : dump.items()) num_values += value.is_object() ? value.size() : 1;
  EXPECT_EQ(num_values, keys().size());
  EXPECT_EQ(dump["data_parallel_size"], "auto");
  EXPECT_EQ(dump["limit"], "all");
  EXPECT_EQ(dump["kv_cache_config"]["host_memory_bytes"], 1 << 30);
  EXPECT_EQ(dump["logprobs"], false);
  EXPECT_EQ(loaded_from(dump.dump()).faults.size(), 0u);
}

TEST(ReadConfigFile, NamesWhatCannotBeRead) {
  const auto refused_path = [](ErrorKind kind, const std::string& path) {
    return refusal(kind, [&path] { read_config_file(path); });
  };
  expect_in("--config /no/such.yaml: cannot be read: No such file",
            refused_path(ErrorKind::missing, "/no/such.yaml"));
  expect_in("is not a regular file", refused_path(ErrorKind::missing, testing::TempDir()));

  const std::string pipe = testing::TempDir() + "/pipe_" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_in("is not a regular file",
            refused_path(ErrorKind::missing, pipe));  // and is not waited for
  std::filesystem::remove(pipe);

  const std::string path = testing::TempDir() + "/long_config.yaml";
  std::ofstream(path) << std::string(kMaxYamlBytes + 1, 'x');
  expect_in("at most 1048576 bytes", refused_path(ErrorKind::config, path));
  std::ofstream(path) << "n: 2\n";
  EXPECT_EQ(read_config_file(path), "n: 2\n");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace trireme::config
