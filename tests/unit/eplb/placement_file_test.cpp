// Placement files of four programs: round trips, broken ones, and placements that do not fit.

#include "eplb/placement_file.h"

#include <gtest/gtest.h>

#include <functional>
#include <sstream>

#include "support/refusal.h"
#include "support/temporary_directory.h"

namespace trireme::eplb {
namespace {

using test::refusal;
using test::TemporaryDirectory;

/// 4 experts in 6 slots of 2 ranks, layers 3 and 7.
PlacementFile sample_file() {
  PlacementFile file;
  Placement& placement = file.placement;
  placement.num_slots = 6;
  placement.ep_size = 2;
  placement.num_nodes = 2;
  placement.replica_choice = ReplicaChoice::home;
  placement.model_name = "models/\"tiny\"\n#| a: b";
  placement.model_hash = "abc";
  placement.layers = {{3, {0, 1, 2, 3, 0, 1}, {2, 1, 1, 1, 1, 1}}, {7, {3, 2, 1, 0, 3, 3}, {}}};
  file.facts = PlacementFacts{.method = "trireme",
                              .objective = "mean",
                              .seed = 7,
                              .loads_hash = "def",
                              .layers = {{3, 1.5, 1.01, 1.02, 1, 0.01}, {7, 2, 1, 1, 1, 0}}};
  return file;
}

void expect_same_slots(const Placement& a, const Placement& b) {
  EXPECT_EQ(a.num_slots, b.num_slots);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].layer, b.layers[i].layer);
    EXPECT_EQ(a.layers[i].expert_of_slot, b.layers[i].expert_of_slot);
    EXPECT_EQ(a.layers[i].slot_weights, b.layers[i].slot_weights);
  }
}

PlacementFile read_text(const std::string& text, const LayerNumbers& numbers = {}) {
  const TemporaryDirectory directory;
  return read_placement(directory.write("placement", text), numbers);
}

TEST(PlacementFile, YamlKeepsEverything) {
  const TemporaryDirectory directory;
  const PlacementFile file = sample_file();

  write_placement(file, PlacementFormat::trtllm, directory.file("placement.yaml"));
  const PlacementFile read = read_placement(directory.file("placement.yaml"));

  expect_same_slots(read.placement, file.placement);
  EXPECT_EQ(read.placement.ep_size, 2);
  EXPECT_EQ(read.placement.num_nodes, 2);
  EXPECT_EQ(read.placement.replica_choice, ReplicaChoice::home);
  EXPECT_EQ(read.placement.model_name, file.placement.model_name);
  EXPECT_EQ(read.placement.model_hash, "abc");
  ASSERT_TRUE(read.facts);
  EXPECT_EQ(read.facts->method, "trireme");
  EXPECT_EQ(read.facts->objective, "mean");
  EXPECT_EQ(read.facts->seed, 7);
  EXPECT_EQ(read.facts->loads_hash, "def");
  ASSERT_EQ(read.facts->layers.size(), 2);
  EXPECT_EQ(read.facts->layers[0].layer, 3);
  EXPECT_DOUBLE_EQ(read.facts->layers[0].balance_before, 1.5);
  EXPECT_DOUBLE_EQ(read.facts->layers[0].balance, 1.01);
  EXPECT_DOUBLE_EQ(read.facts->layers[0].deepseek, 1.02);
  EXPECT_DOUBLE_EQ(read.facts->layers[0].lower_bound, 1);
  EXPECT_DOUBLE_EQ(read.facts->layers[0].gap, 0.01);
}

// TensorRT-LLM makes a strict object of the file's keys: a fourth one would be an error there.
TEST(PlacementFile, YamlHasNoKeysButThoseOfTensorRtLlm) {
  const std::string text = placement_text(sample_file(), PlacementFormat::trtllm);

  std::string keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#") || line.starts_with(" ")) continue;
    keys += line.substr(0, line.find(':')) + " ";
  }
  EXPECT_EQ(keys, "num_slots layer_updates_per_iter initial_global_assignments ");
}

TEST(PlacementFile, YamlOfTensorRtLlmIsReadAsItIs) {
  const PlacementFile file = read_text(
      "initial_global_assignments:\n  5:\n  - 1\n  - 0\n  - 1\n  4: [0, 1, 0]\n"
      "layer_updates_per_iter: 2\nnum_slots: 3\n");

  EXPECT_EQ(file.placement.num_slots, 3);
  EXPECT_EQ(file.placement.layer_updates_per_iter, 2);
  EXPECT_EQ(file.placement.ep_size, 0);
  EXPECT_FALSE(file.facts);
  ASSERT_EQ(file.placement.layers.size(), 2);
  EXPECT_EQ(file.placement.layers[0].layer, 4);
  EXPECT_EQ(file.placement.layers[1].expert_of_slot, (std::vector<std::int32_t>{1, 0, 1}));
}

TEST(PlacementFile, YamlMayHoldTheFactsAsAMap) {
  const PlacementFile file = read_text(
      "num_slots: 2\ninitial_global_assignments: {0: [0, 1]}\ntrireme: {schema: trireme.placement, "
      "schema_version: 1.0.0, ep_size: 2, model_hash: abc}\n");

  EXPECT_EQ(file.placement.ep_size, 2);
  EXPECT_EQ(file.placement.model_hash, "abc");
}

TEST(PlacementFile, WithoutAssignmentsGetsThoseOfTensorRtLlm) {
  const std::vector<std::int32_t> layers = {3, 4};
  Placement placement = read_text("num_slots: 3\nlayer_updates_per_iter: 0\n").placement;

  EXPECT_TRUE(placement.layers.empty());
  fill_assignments(placement, layers, 2);

  ASSERT_EQ(placement.layers.size(), 2);
  EXPECT_EQ(placement.layers[1].layer, 4);
  EXPECT_EQ(placement.layers[1].expert_of_slot, (std::vector<std::int32_t>{0, 1, 0}));
}

TEST(PlacementFile, JsonFormatsKeepTheSlots) {
  const TemporaryDirectory directory;
  PlacementFile file = sample_file();
  file.placement.layers = {{0, {0, 1, 2, 3, 0, 1}, {}}, {1, {3, 2, 1, 0, 3, 3}, {}}};
  for (const PlacementFormat format :
       {PlacementFormat::sglang, PlacementFormat::vllm, PlacementFormat::ascend}) {
    SCOPED_TRACE(name_of(format));

    write_placement(file, format, directory.file("placement.json"));
    const PlacementFile read = read_placement(directory.file("placement.json"));

    expect_same_slots(read.placement, file.placement);
    EXPECT_EQ(read.placement.ep_size, format == PlacementFormat::ascend ? 2 : 0);
    EXPECT_EQ(placement_format_from_name(name_of(format)), format);
  }
  EXPECT_FALSE(placement_format_from_name("csv"));
}

TEST(PlacementFile, SglangGetsRowsForLayersWithoutExperts) {
  const std::string text = placement_text(sample_file(), PlacementFormat::sglang);

  const PlacementFile read = read_text(text);

  ASSERT_EQ(read.placement.layers.size(), 8);
  EXPECT_EQ(read.placement.layers[0].expert_of_slot, (std::vector<std::int32_t>{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(read.placement.layers[7].expert_of_slot, (std::vector<std::int32_t>{3, 2, 1, 0, 3, 3}));
}

TEST(PlacementFile, LayersCanBeNumberedFromOutside) {
  const PlacementFile all = read_text("[0, 1, 0]", {.first_layer = 3, .num_layers = 2});
  const PlacementFile each = read_text("[[0, 1, 0], [1, 0, 1]]", {.first_layer = 3});

  ASSERT_EQ(all.placement.layers.size(), 2);
  EXPECT_EQ(all.placement.layers[1].layer, 4);
  EXPECT_EQ(all.placement.layers[1].expert_of_slot, (std::vector<std::int32_t>{0, 1, 0}));
  EXPECT_EQ(each.placement.layers[0].layer, 3);
}

TEST(PlacementFile, AscendDevicesCountByTheirIds) {
  const PlacementFile file = read_text(
      R"({"moe_layer_count": 1, "layer_list": [{"layer_id": 0, "device_count": 2, "device_list": [
         {"device_id": 1, "device_expert": [2, 3]}, {"device_id": 0, "device_expert": [0, 1]}]}]})");

  EXPECT_EQ(file.placement.layers[0].expert_of_slot, (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST(PlacementFile, HashFollowsSlotsAndWeights) {
  Placement placement = sample_file().placement;
  const std::string before = assignments_hash(placement);

  placement.model_name = "another name";
  EXPECT_EQ(assignments_hash(placement), before);
  placement.layers[0].slot_weights[0] = 1;
  const std::string other_weight = assignments_hash(placement);
  std::swap(placement.layers[1].expert_of_slot[0], placement.layers[1].expert_of_slot[1]);

  EXPECT_NE(other_weight, before);
  EXPECT_NE(assignments_hash(placement), other_weight);
}

struct Broken {
  std::string text;
  std::vector<std::string> words;
};

void expect_refusals(const std::vector<Broken>& table) {
  for (const Broken& broken : table) {
    SCOPED_TRACE(broken.text.substr(0, 200));
    const TemporaryDirectory directory;
    const std::string path = directory.write("broken.file", broken.text);

    const std::string message = refusal(ErrorKind::input, [&] { read_placement(path); });

    TRIREME_EXPECT_CONTAINS(message, "broken.file");
    for (const std::string& words : broken.words) TRIREME_EXPECT_CONTAINS(message, words);
  }
}

std::string repeated(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(PlacementFile, BrokenYamlIsRefused) {
  const std::string slots = "num_slots: 2\n";
  const std::string one = "initial_global_assignments: {0: [0, 1]}\n";
  expect_refusals({
      {"", {"the file is no map"}},
      {"hello", {"the file is no map"}},
      {one, {"num_slots is not there"}},
      {"num_slots: two\n" + one, {"line 1", "num_slots is 'two'"}},
      {"num_slots: '2'\n" + one, {"line 1", "num_slots is no whole number"}},
      {"num_slots: 2.0\n" + one, {"num_slots is '2.0'"}},
      {"num_slots: 0\n" + one, {"num_slots is '0'", "from 1"}},
      {"num_slots: 99999999999999999999\n" + one, {"num_slots is '99999999999999999999'"}},
      {"num_slots: 0x10\n" + one, {"num_slots is '0x10'"}},
      {slots + slots + one, {"line 2", "num_slots twice"}},
      {"num_slot: 2\n" + one, {"unknown key 'num_slot'", "expected num_slots?"}},
      {slots + one + "layer_updates_per_iter: -1\n", {"layer_updates_per_iter is '-1'"}},
      {slots + "initial_global_assignments: [0, 1]\n", {"line 2", "is no map"}},
      {slots + "initial_global_assignments: {}\n", {"holds 0 layers"}},
      {"num_slots: 32768\n" + one, {"num_slots is '32768'", "to 32767"}},
      {slots + "initial_global_assignments: {a: [0, 1]}\n", {"the layer is 'a'"}},
      {slots + "initial_global_assignments: {-1: [0, 1]}\n", {"the layer is '-1'"}},
      {slots + "initial_global_assignments: {65536: [0, 1]}\n", {"the layer is '65536'"}},
      {slots + "initial_global_assignments: {0: [0, 1], 0: [1, 0]}\n", {"holds 0 twice"}},
      {slots + "initial_global_assignments: {3: [0, 1], 03: [1, 0]}\n", {"layer 3 twice"}},
      {slots + "initial_global_assignments: {0: 1}\n", {"layer 0", "no list"}},
      {slots + "initial_global_assignments: {0: []}\n", {"layer 0", "no list"}},
      {slots + "initial_global_assignments: {0: [0, -1]}\n", {"layer 0 slot 1", "expert is '-1'"}},
      {slots + "initial_global_assignments: {0: [0, 1.5]}\n", {"slot 1", "'1.5'"}},
      {slots + "initial_global_assignments: {0: [0, ~]}\n", {"slot 1"}},
      {slots + "initial_global_assignments: {0: [0, [1]]}\n", {"slot 1"}},
      {slots + "initial_global_assignments: {0: [0, 32767]}\n", {"slot 1", "'32767'"}},
      {slots + "initial_global_assignments: {0: &a [0, 1], 1: *a}\n", {"anchor or alias"}},
      {slots + one + "---\n" + slots + one, {"second document"}},
      {slots + "initial_global_assignments: {0: [0, 1\n", {"not YAML"}},
      {slots + "a: " + repeated("[", 70) + repeated("]", 70), {"nested deeper"}},
      {slots + "# " + std::string(std::size_t{17} << 20, 'x'), {"larger than 16777216"}},
      {slots + "initial_global_assignments: {0: [" + repeated("1,", 1100000) + "1]}",
       {"more than 1048576 values"}},
      {slots + one + std::string("\0", 1), {"control character"}},
      {slots + one + "\xff", {"UTF-8"}},
      {slots + one + "trireme: 5\n", {"no map"}},
  });
}

TEST(PlacementFile, BrokenFactsAreRefused) {
  const std::string begin =
      "num_slots: 2\ninitial_global_assignments: {0: [0, 1]}\n#| schema: trireme.placement\n";
  const std::string v1 = begin + "#| schema_version: 1.0.0\n";
  expect_refusals({
      {begin, {"schema_version is ''"}},
      {begin + "#| schema_version: 2.0.0\n", {"line 3", "schema_version is '2.0.0'"}},
      {"num_slots: 2\ninitial_global_assignments: {0: [0, 1]}\n#| schema: other\n",
       {"schema is 'other'", "trireme.placement"}},
      {v1 + "#| ep_size: many\n", {"line 5", "ep_size is 'many'"}},
      {v1 + "#| ep_size: -2\n", {"ep_size is '-2'"}},
      {v1 + "#| num_nodes: 0\n", {"num_nodes is '0'"}},
      {v1 + "#| replica_choice: nearest\n", {"replica_choice is 'nearest'", "quota or home"}},
      {v1 + "#| seed: -1\n", {"seed is '-1'"}},
      {v1 + "#| model: [a]\n", {"model is no text"}},
      {v1 + "#| model: &a b\n", {"anchor or alias"}},
      {v1 + "#| slot_weights: {0: [1, 0]}\n", {"layer 0 slot 1", "weight is '0'"}},
      {v1 + "#| slot_weights: {0: [1, 4294967296]}\n", {"weight is '4294967296'"}},
      {v1 + "#| slot_weights: {4: [1, 1]}\n", {"layer 4", "no assignments"}},
      {v1 + "#| layers: {0: {balance: nan}}\n", {"layer 0 balance", "finite"}},
      {v1 + "#| layers: {0: {gap: 1e999}}\n", {"layer 0 gap", "finite"}},
      {v1 + "#| layers: {0: 1}\n", {"layer 0 is no map"}},
      {v1 + "#| assignments_hash: abc\n", {"line 5", "assignments_hash is abc", "changed"}},
  });
}

TEST(PlacementFile, BrokenJsonIsRefused) {
  const std::string device = R"({"device_id": 0, "device_expert": [0, 1]})";
  const auto ascend = [](const std::string& devices, const std::string& rest = "") {
    return R"({"layer_list": [{"layer_id": 0, "device_count": 1, "device_list": [)" + devices +
           "]" + rest + "}]}";
  };
  expect_refusals({
      {"{", {"not JSON"}},
      {"{}", {"without a placement"}},
      {"[]", {"the file is a list of 0"}},
      {"[[]]", {"layer 0 is a list of 0"}},
      {"[[0, 1], 5]", {"layer 1 is 5"}},
      {"[[0, 1], [0]]", {"layer 1 has 1 slots", "expected 2"}},
      {"[[0, -1]]", {"layer 0 slot 1", "is -1"}},
      {"[[0, 1.0]]", {"layer 0 slot 1", "is 1.0"}},
      {"[[0, true]]", {"slot 1", "is true"}},
      {"[[0, \"1\"]]", {"slot 1", "is \"1\""}},
      {"[[0, 99999999999999999999]]", {"beyond 64 bits"}},
      {"[[0, 18446744073709551615]]", {"slot 1"}},
      {"[0, 1, 2]", {"one list for all layers", "--num-layers"}},
      {"[[0, 1]", {"not JSON"}},
      {repeated("[", 100000), {"nested deeper"}},
      {R"({"physical_to_logical_map": 3})", {"physical_to_logical_map is 3"}},
      {R"({"physical_to_logical_map": {"0": [0]}})", {"an object of 1"}},
      {R"({"physical_to_logical_map": [[0, 1], [0, 1, 2]]})", {"layer 1 has 3 slots"}},
      {R"({"logical_count": [[1, 2]]})", {"loads", "eplb plan"}},
      {R"({"layer_list": []})", {"layer_list is a list of 0"}},
      {R"({"layer_list": [3]})", {"layer_list [0] is 3"}},
      {R"({"moe_layer_count": 2, "layer_list": [{}]})", {"layer_list has 1 layers"}},
      {R"({"layer_list": [{"device_count": 1}]})", {"has no layer_id"}},
      {R"({"layer_list": [{"layer_id": -1}]})", {"layer_id is -1"}},
      {R"({"layer_list": [{"layer_id": 0}]})", {"has no device_count"}},
      {R"({"layer_list": [{"layer_id": 0, "device_count": 1000000000000}]})",
       {"device_count is 1000000000000"}},
      {ascend(device + "," + device), {"2 devices", "device_count, 1"}},
      {ascend(R"({"device_id": 1, "device_expert": [0]})"), {"device_id is 1"}},
      {ascend(R"({"device_id": 0})"), {"device 0 has no device_expert"}},
      {ascend(R"({"device_id": 0, "device_expert": []})"), {"device 0 is a list of 0"}},
      {ascend(R"({"device_id": 0, "device_expert": [40000]})"), {"slot 0", "40000"}},
      {R"({"layer_list": [{"layer_id": 0, "device_count": 2, "device_list": [)" + device + "," +
           device + "]}]}",
       {"device 0 stands twice"}},
      {R"({"layer_list": [{"layer_id": 0, "device_count": 2, "device_list": [)" + device +
           R"(, {"device_id": 1, "device_expert": [0]}]}]})",
       {"device 1 has 1 slots", "expected 2"}},
  });
}

TEST(PlacementFile, ThatIsMissingIsSaid) {
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::missing, [] { read_placement("absent.yaml"); }),
                          "absent.yaml");
}

TEST(CheckPlacement, AFitHasNoFaults) {
  const std::vector<std::int32_t> layers = {3, 7};

  EXPECT_TRUE(check_placement(sample_file().placement, {layers, 4, 2, "abc"}).empty());
  EXPECT_TRUE(check_placement(sample_file().placement, {layers, 4, 0, ""}).empty());
}

TEST(CheckPlacement, EveryFaultNamesLayerAndSlot) {
  const std::vector<std::int32_t> layers = {3, 7};
  const std::vector<std::int32_t> other_layers = {3, 8};
  struct Case {
    std::function<void(Placement&)> change;
    PlacementUse use;
    std::vector<std::string> words;
  };
  const PlacementUse right = {layers, 4, 2, "abc"};
  const std::vector<Case> cases = {
      {[](Placement&) {}, {layers, 8, 2, "abc"}, {"num_slots is 6", "at least 8"}},
      {[](Placement&) {}, {layers, 4, 4, "abc"}, {"num_slots is 6", "multiple of 4"}},
      {[](Placement&) {}, {layers, 4, 3, "abc"}, {"ep_size is 2", "expected 3"}},
      {[](Placement&) {}, {layers, 4, 2, "xyz"}, {"model_hash is abc", "expected xyz"}},
      {[](Placement&) {},
       {other_layers, 4, 2, "abc"},
       {"layer 8 is not there", "layer 7 is there"}},
      {[](Placement&) {},
       {layers, 3, 2, "abc"},
       {"layer 3 slot 3 holds expert 3, expected 0 to 2",
        "layer 7 slot 0 holds expert 3, expected 0 to 2 (and 2 more"}},
      {[](Placement& p) { p.layers[1].expert_of_slot[0] = -1; },
       right,
       {"layer 7 slot 0 holds expert -1"}},
      {[](Placement& p) { p.layers[0].expert_of_slot = {0, 0, 0, 0, 0, 3}; },
       right,
       {"layer 3 has no slot for expert 1 (and 1 more"}},
      {[](Placement& p) { p.layers[0].expert_of_slot.push_back(0); },
       right,
       {"layer 3 has 7 slots", "num_slots, which is 6"}},
      {[](Placement& p) { p.layers[0].slot_weights.pop_back(); },
       right,
       {"layer 3 has 5 slot_weights", "6 slots"}},
      {[](Placement& p) { p.layers[0].slot_weights[2] = 0; },
       right,
       {"layer 3 slot 2 has the weight 0"}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.words.front());
    Placement placement = sample_file().placement;
    one.change(placement);

    std::string all;
    for (const std::string& fault : check_placement(placement, one.use)) all += fault + "\n";

    for (const std::string& words : one.words) TRIREME_EXPECT_CONTAINS(all, words);
  }
}

TEST(CheckPlacement, AMisfitIsAConfigurationErrorThatNamesTheFile) {
  const std::vector<std::int32_t> layers = {3, 7};

  const std::string message = refusal(ErrorKind::config, [&] {
    require_fit(sample_file().placement, {layers, 8, 4, "xyz"}, "placement.yaml");
  });

  TRIREME_EXPECT_CONTAINS(message, "placement.yaml: num_slots is 6, expected at least 8");
  TRIREME_EXPECT_CONTAINS(message, "; model_hash is abc");
}

}  // namespace
}  // namespace trireme::eplb
