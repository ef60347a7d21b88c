#include "config/value.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "config/yaml_loader.h"
#include "refusal.h"

namespace trireme::config {
namespace {

/// The complaint about `yaml` as the value of a key; "" if it was taken.
std::string complaint_about(const std::string& key, const std::string& yaml,
                            RunConfig* config = nullptr) {
  RunConfig unused;
  const YamlNode root = parse_yaml("x: " + yaml, "c.yaml");
  return assign(*find_key(key), root.items.at(0), config ? *config : unused).value_or("");
}

TEST(KeyTable, HasEveryKeyOnceWithADefaultInItsRange) {
  std::set<std::string> names;
  for (const Key& key : keys()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    EXPECT_EQ(complaint(key, RunConfig{}).value_or(""), "");
    EXPECT_FALSE(key.doc.empty()) << key.name;
    EXPECT_FALSE(key.expected.text.empty()) << key.name;
  }
  EXPECT_EQ(find_key("no_such_key"), nullptr);
}

TEST(Assign, ReadsEveryTypeOfValue) {
  RunConfig config;
  EXPECT_EQ(complaint_about("tensor_parallel_size", "8", &config), "");
  EXPECT_EQ(complaint_about("kv_cache_config.free_gpu_memory_fraction", "0.5", &config), "");
  EXPECT_EQ(complaint_about("enable_attention_dp", "true", &config), "");
  EXPECT_EQ(complaint_about("model", "some/folder", &config), "");
  EXPECT_EQ(complaint_about("max_tokens", "0", &config), "");
  EXPECT_EQ(complaint_about("seed", "18446744073709551615", &config), "");
  EXPECT_EQ(complaint_about("temperature", "1", &config), "");
  EXPECT_EQ(complaint_about("ignore_eos", "False", &config), "");
  EXPECT_EQ(complaint_about("pipeline_layers", "[3, 2]", &config), "");
  EXPECT_EQ(complaint_about("stop", "[\"\\n\", '###']", &config), "");
  EXPECT_EQ(complaint_about("kv_cache_config.host_memory_bytes", "4 GiB", &config), "");
  EXPECT_EQ(complaint_about("cp_config.cp_type", "HELIX", &config), "");

  EXPECT_EQ(config.parallel.tensor_parallel_size, 8);
  EXPECT_EQ(config.kv_cache.free_gpu_memory_fraction, 0.5);
  EXPECT_TRUE(config.parallel.enable_attention_dp);
  EXPECT_EQ(config.paths.model, "some/folder");
  EXPECT_EQ(config.sampling.max_tokens, 0);
  EXPECT_EQ(config.sampling.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(config.sampling.temperature, 1.0);
  EXPECT_EQ(config.sampling.ignore_eos, false);
  EXPECT_EQ(config.parallel.pipeline_layers, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(config.sampling.stop, (std::vector<std::string>{"\n", "###"}));
  EXPECT_EQ(config.kv_cache.host_memory_bytes, std::int64_t{4} << 30);
  EXPECT_EQ(config.parallel.cp_type, "helix");
}

TEST(Assign, GivesTheDefaultBackForNullAndTheUnsetWord) {
  RunConfig config;
  config.limits.max_batch_size = 5;
  config.parallel.tensor_parallel_size = 5;
  config.sampling.top_p = 0.5;
  config.paths.limit = 5;

  EXPECT_EQ(complaint_about("max_batch_size", "auto", &config), "");
  EXPECT_EQ(complaint_about("tensor_parallel_size", "null", &config), "");
  EXPECT_EQ(complaint_about("top_p", "~", &config), "");
  EXPECT_EQ(complaint_about("limit", "all", &config), "");

  EXPECT_EQ(config.limits.max_batch_size, 0);
  EXPECT_EQ(config.parallel.tensor_parallel_size, 1);
  EXPECT_EQ(config.sampling.top_p, std::nullopt);
  EXPECT_EQ(config.paths.limit, -1);
}

TEST(Assign, UnderstandsLogprobsAsFlagAndAsNumber) {
  RunConfig config;
  EXPECT_EQ(complaint_about("logprobs", "true", &config), "");
  EXPECT_EQ(config.sampling.logprobs, 0);
  EXPECT_EQ(complaint_about("logprobs", "20", &config), "");
  EXPECT_EQ(config.sampling.logprobs, 20);
  EXPECT_EQ(complaint_about("logprobs", "false", &config), "");
  EXPECT_EQ(config.sampling.logprobs, std::nullopt);
}

TEST(Assign, NamesAWrongTypeAndKeepsTheOldValue) {
  struct Case {
    const char* key;
    const char* yaml;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"tensor_parallel_size", "\"8\"",
       "tensor_parallel_size is the string '8', expected a whole number from 1 to 1048576"},
      {"tensor_parallel_size", "eight", "is 'eight', expected a whole number"},
      {"tensor_parallel_size", "8.0", "is '8.0', expected a whole number"},
      {"tensor_parallel_size", "1e3", "is '1e3', expected a whole number"},
      {"tensor_parallel_size", "true", "is 'true', expected a whole number"},
      {"tensor_parallel_size", "[8]", "is ['8'], expected a whole number"},
      {"tensor_parallel_size", "{a: 8}", "is a map, expected a whole number"},
      {"tensor_parallel_size", "auto", "is 'auto', expected a whole number"},
      {"enable_attention_dp", "yes", "is 'yes', expected true or false"},
      {"enable_attention_dp", "1", "is '1', expected true or false"},
      {"enable_attention_dp", "\"true\"", "the string 'true', expected true or false"},
      {"temperature", "hot", "is 'hot', expected 0 (greedy) or a number"},
      {"temperature", "\"0.5\"", "the string '0.5'"},
      {"model", "12", "is '12', expected a folder (text, in quotes)"},
      {"record_loads", "false", "is 'false', expected a file name, auto or none (text, in quotes)"},
      {"model", "\"a\\0b\"", "is the string 'a\\x00b', expected a folder"},
      {"model", "[a]", "is ['a'], expected a folder"},
      {"pipeline_layers", "3", "is '3', expected a list of whole numbers"},
      {"pipeline_layers", "[3, two]", "is ['3', 'two'], expected a list of whole numbers"},
      {"pipeline_layers", "[3, [2]]", "is ['3', ['2']], expected a list of whole numbers"},
      {"stop", "{a: b}", "is a map, expected up to 64 strings"},
      {"stop", "[1]", "is ['1'], expected up to 64 strings"},
      {"stop", "[\"\"]", "expected up to 64 strings, none empty"},
  };
  for (const Case& c : cases) {
    expect_in(c.message, complaint_about(c.key, c.yaml));
  }

  RunConfig config;
  config.parallel.tensor_parallel_size = 3;
  complaint_about("tensor_parallel_size", "0", &config);
  EXPECT_EQ(config.parallel.tensor_parallel_size, 3);
}

TEST(Assign, RefusesEveryNumberOutOfRange) {
  const std::vector<std::string> beyond = {
      "-1",   "-9223372036854775808",    "1e30", "1e400", ".nan", "nan", "inf",
      ".inf", "99999999999999999999999", "0x8"};
  for (const Key& key : keys()) {
    RunConfig defaults;
    const Slot slot = key.slot(defaults);
    if (std::holds_alternative<std::string*>(slot) || std::holds_alternative<bool*>(slot) ||
        std::holds_alternative<std::vector<std::string>*>(slot)) {
      continue;
    }
    const bool is_penalty = key.name.ends_with("e_penalty") || key.name.ends_with("y_penalty");
    for (const std::string& value : beyond) {
      if (value == "-1" && is_penalty) continue;
      EXPECT_NE(complaint_about(key.name, value), "") << key.name << ": " << value;
    }
  }
  for (const char* name : {"tensor_parallel_size", "max_batch_size", "max_num_tokens",
                           "max_seq_len", "top_k", "n", "data_parallel_size", "threads_per_rank"}) {
    expect_in("is '2147483648', expected a whole number", complaint_about(name, "2147483648"));
  }
}

TEST(ParseBytes, UnderstandsUnitsAndRefusesOverflow) {
  EXPECT_EQ(parse_bytes("1024"), 1024);
  EXPECT_EQ(parse_bytes("512MiB"), 512 << 20);
  EXPECT_EQ(parse_bytes("80 GiB"), std::int64_t{80} << 30);
  EXPECT_EQ(parse_bytes("9999999 TiB"), std::nullopt);
  EXPECT_EQ(parse_bytes("GiB"), std::nullopt);
  EXPECT_EQ(parse_bytes("4 GB"), std::nullopt);
  EXPECT_EQ(parse_bytes(""), std::nullopt);
}

}  // namespace
}  // namespace trireme::config
