#include "config/command_line.h"

#include <gtest/gtest.h>

#include <sstream>

#include "config/key_table.h"
#include "config/validate.h"
#include "refusal.h"

namespace trireme::config {
namespace {

using Words = std::vector<std::string>;

RunCommandLine run_line(const Words& words) {
  return parse_run_command_line(RunCommand::run, words);
}

TEST(RunCommandLine, WinsOverTheFileInItsOrder) {
  const RunCommandLine line =
      run_line({"--config", "c.yaml", "--max-batch-size", "3", "--set", "max_batch_size=4",
                "--set=kv_cache_config.dtype=float32", "--overwrite", "--enable-attention-dp=false",
                "--stop", "a=b"});

  const Loaded loaded =
      load(line, "max_batch_size: 1\nmax_num_tokens: 100\nenable_attention_dp: true\nstop: [x]\n");

  require_none(loaded.faults);
  EXPECT_EQ(line.config_path, "c.yaml");
  EXPECT_EQ(loaded.config.limits.max_batch_size, 4);
  EXPECT_EQ(loaded.config.limits.max_num_tokens, 100);
  EXPECT_EQ(loaded.config.kv_cache.dtype, "float32");
  EXPECT_TRUE(loaded.config.paths.overwrite);
  EXPECT_FALSE(loaded.config.parallel.enable_attention_dp);
  EXPECT_EQ(loaded.config.sampling.stop, std::vector<std::string>{"a=b"});
}

TEST(RunCommandLine, HasAFlagForEveryTopLevelKey) {
  for (const Key& key : keys()) {
    if (key.name.find('.') != std::string::npos) continue;
    std::string flag = "--" + key.name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    RunConfig unused;
    const bool is_switch = std::holds_alternative<bool*>(key.slot(unused)) ||
                           std::holds_alternative<std::optional<bool>*>(key.slot(unused));

    const RunCommandLine line = run_line(is_switch ? Words{flag} : Words{flag, "1"});

    ASSERT_EQ(line.settings.size(), 1u) << flag;
    EXPECT_EQ(line.settings[0].key, key.name);
  }
}

TEST(RunCommandLine, ReadsItsOwnFlags) {
  const RunCommandLine line = parse_run_command_line(
      RunCommand::plan, {"--world", "16", "--device-memory", "80 GiB", "--dump-config"});

  EXPECT_EQ(line.world, 16);
  EXPECT_EQ(line.device_memory_bytes, std::int64_t{80} << 30);
  EXPECT_TRUE(line.dump_config);
  EXPECT_TRUE(line.settings.empty());
  EXPECT_TRUE(run_line({"--version"}).version);
  EXPECT_TRUE(run_line({"--help", "--bad"}).help);
}

TEST(RunCommandLine, RefusesWhatItDoesNotKnow) {
  const auto refused = [](RunCommand command, const Words& words) {
    return refusal(ErrorKind::usage, [&] { parse_run_command_line(command, words); });
  };
  expect_in("trireme run: unknown flag --tensor-paralel-size, expected --tensor-parallel-size?",
            refused(RunCommand::run, {"--tensor-paralel-size", "2"}));
  expect_in("unknown flag --tensor_parallel_size, expected --tensor-parallel-size?",
            refused(RunCommand::run, {"--tensor_parallel_size=2"}));
  expect_in("unknown flag --world", refused(RunCommand::run, {"--world", "2"}));
  expect_in("'prompts.h5' is one argument too many, expected only flags",
            refused(RunCommand::run, {"prompts.h5"}));
  expect_in("--set is 'n', expected KEY=VALUE", refused(RunCommand::run, {"--set", "n"}));
  expect_in("--set is '=3', expected KEY=VALUE", refused(RunCommand::run, {"--set==3"}));
  expect_in("--world is '0', expected a whole number from 1",
            refused(RunCommand::plan, {"--world", "0"}));
  expect_in("--world is '2147483648'", refused(RunCommand::plan, {"--world=2147483648"}));
  expect_in("--device-memory is 'much', expected bytes or a size such as 80 GiB",
            refused(RunCommand::plan, {"--device-memory", "much"}));
}

TEST(Load, ListsFaultsOfFileAndCommandLineTogether) {
  const RunCommandLine line =
      run_line({"--config", "c.yaml", "--n", "0", "--set", "nn=1", "--limit", "-5"});

  const std::string message = refusal(ErrorKind::config, [&line] {
    require_valid(load(line, "dtype: int8\ntensor_parallel_size: 3\n"), {.world = 4});
  });

  EXPECT_EQ(message,
            "configuration: 5 errors\n"
            "  dtype is 'int8', expected auto, float32, bfloat16 or float16 (c.yaml line 1)\n"
            "  n is '0', expected a whole number from 1 to 256 (--n)\n"
            "  unknown key 'nn', expected n? (--set)\n"
            "  limit is '-5', expected a whole number from 1 to 1099511627776 (--limit)\n"
            "  tensor_parallel_size 3 x pipeline_parallel_size 1 x context_parallel_size 1 is 3, "
            "expected a divisor of the job's 4 ranks");
}

TEST(Load, NeedsNoFile) {
  EXPECT_EQ(load(run_line({}), "this is not looked at").config.parallel.tensor_parallel_size, 1);
}

TEST(RequirePaths, NamesTheFirstThatIsMissing) {
  const auto refused = [](RunCommand command, const Words& words) {
    return refusal(ErrorKind::usage, [&] {
      require_paths(command, load(parse_run_command_line(command, words), "").config);
    });
  };
  expect_in("trireme run: --model is missing", refused(RunCommand::run, {}));
  expect_in("--prompts is missing", refused(RunCommand::run, {"--model", "m"}));
  expect_in("--output is missing", refused(RunCommand::run, {"--model", "m", "--prompts", "p"}));
  EXPECT_EQ(refused(RunCommand::run, {"--model", "m", "--prompts", "p", "--output", "o"}),
            "accepted");
  EXPECT_EQ(refused(RunCommand::plan, {"--model", "m"}), "accepted");
}

TEST(RunHelp, NamesEveryKeyWithinTheWidthOfATerminal) {
  for (const RunCommand command : {RunCommand::run, RunCommand::plan}) {
    const std::string help = run_help(command);

    for (const Key& key : keys()) {
      std::string flag = "--" + key.name;
      std::replace(flag.begin(), flag.end(), '_', '-');
      const bool is_nested = key.name.find('.') != std::string::npos;
      expect_in(is_nested ? "--set " + key.name + "=" : flag, help);
    }
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
  expect_in("--world N", run_help(RunCommand::plan));
  EXPECT_EQ(run_help(RunCommand::run).find("--world"), std::string::npos);
}

}  // namespace
}  // namespace trireme::config
