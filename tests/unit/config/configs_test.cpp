#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "config/dump_config.h"
#include "config/key_table.h"
#include "config/validate.h"
#include "config/yaml_loader.h"

namespace trireme::config {
namespace {

Loaded load_file(const std::string& name) {
  Loaded loaded;
  apply_yaml(read_config_file(cat(TRIREME_CONFIGS, "/", name)), name, loaded);
  require_none(loaded.faults);
  EXPECT_TRUE(loaded.warnings.empty()) << name;
  return loaded;
}

TEST(TinyCpu, HoldsTheDefaults) {
  Loaded loaded = load_file("tiny_cpu.yaml");

  EXPECT_EQ(loaded.config.paths.model, "tests/data/demo");
  loaded.config.paths.model.clear();
  EXPECT_EQ(dump_config_text(loaded.config), dump_config_text(RunConfig{}));
}

TEST(TinyCpu, CommentsEveryKeyOnce) {
  std::istringstream lines(read_config_file(cat(TRIREME_CONFIGS, "/tiny_cpu.yaml")));
  std::map<std::string, int> times;
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (line.empty() || line[0] == '#' || colon == std::string::npos) continue;
    const bool is_nested = line.starts_with("  ");
    const std::string name = line.substr(is_nested ? 2 : 0, colon - (is_nested ? 2 : 0));
    if (!is_nested) section = name;
    if (line.size() == colon + 1) continue;  // opens a section

    ++times[is_nested ? cat(section, ".", name) : name];
    EXPECT_NE(line.find("  # "), std::string::npos) << "no comment: " << line;
  }

  for (const Key& key : keys()) EXPECT_EQ(times[key.name], 1) << key.name;
  EXPECT_EQ(times.size(), keys().size());
}

TEST(Configs, AreValidForTheRanksTheyName) {
  const std::map<std::string, std::int64_t> worlds = {{"tiny_cpu.yaml", 1},
                                                      {"tensor_parallel.yaml", 4},
                                                      {"pipeline_parallel.yaml", 4},
                                                      {"data_parallel.yaml", 3},
                                                      {"attention_dp.yaml", 4},
                                                      {"moe_expert_parallel.yaml", 4},
                                                      {"moe_tensor_parallel.yaml", 4},
                                                      {"moe_hybrid.yaml", 8},
                                                      {"combined.yaml", 8},
                                                      {"wide_ep.yaml", 8}};
  for (const auto& [name, world] : worlds) {
    SCOPED_TRACE(name);
    EXPECT_NO_THROW(require_valid(load_file(name), {.world = world}));
  }
  for (const auto& entry : std::filesystem::directory_iterator(TRIREME_CONFIGS)) {
    EXPECT_TRUE(worlds.contains(entry.path().filename())) << entry.path();
  }
}

}  // namespace
}  // namespace trireme::config
