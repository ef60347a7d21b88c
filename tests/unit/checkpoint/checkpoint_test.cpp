#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/refusal.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temporary_directory.h"

namespace trireme::checkpoint {
namespace {

using test::bytes_of;
using test::refusal;
using test::safetensors_file;

std::string one(const std::string& name, float value) {
  return safetensors_file(std::vector<test::TestTensor>{{name, "F32", {1}, bytes_of({value})}});
}

float read_one(const Checkpoint& checkpoint, const std::string& name) {
  float value = 0;
  checkpoint.read(checkpoint.find(name), 0, &value, sizeof(value));
  return value;
}

TEST(Checkpoint, ReadsASingleFile) {
  const test::TemporaryDirectory directory;
  directory.write("model.safetensors",
                  safetensors_file(std::vector<test::TestTensor>{
                      {"a", "F32", {3}, bytes_of({1, 2, 3})}, {"b", "F32", {1}, bytes_of({4})}}));

  const Checkpoint checkpoint = Checkpoint::open(directory.path());

  float values[2];
  checkpoint.read(checkpoint.find("a"), 4, values, 8);
  EXPECT_EQ(values[0], 2);
  EXPECT_EQ(values[1], 3);
  EXPECT_EQ(read_one(checkpoint, "b"), 4);
  EXPECT_EQ(checkpoint.file_bytes(), static_cast<std::int64_t>(std::filesystem::file_size(
                                         directory.path() + "/model.safetensors")));
}

TEST(Checkpoint, ReadsShardsWhereTheIndexPlacesTensors) {
  const test::TemporaryDirectory directory;
  directory.write("model-1.safetensors", one("a", 1));
  directory.write("model-2.safetensors",
                  safetensors_file(std::vector<test::TestTensor>{
                      {"a", "F32", {1}, bytes_of({7})}, {"b", "F32", {1}, bytes_of({2})}}));
  directory.write("model.safetensors.index.json",
                  R"({"metadata": {"total_size": 8},
                      "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");

  const Checkpoint checkpoint = Checkpoint::open(directory.path());

  EXPECT_EQ(read_one(checkpoint, "a"), 1);
  EXPECT_EQ(read_one(checkpoint, "b"), 2);
}

TEST(Checkpoint, HasAFingerprintOfNamesTypesShapesAndSizes) {
  const auto fingerprint = [](const std::string& name, const char* dtype, std::int64_t extent,
                              std::size_t num_bytes, char byte) {
    const test::TemporaryDirectory directory;
    directory.write("model.safetensors",
                    safetensors_file(std::vector<test::TestTensor>{
                        {name, dtype, {extent}, std::string(num_bytes, byte)}}));
    return Checkpoint::open(directory.path()).fingerprint();
  };
  const std::string base = fingerprint("a", "F16", 2, 4, 'x');

  EXPECT_EQ(base.size(), 64U);
  EXPECT_EQ(fingerprint("a", "F16", 2, 4, 'y'), base);
  EXPECT_NE(fingerprint("b", "F16", 2, 4, 'x'), base);
  EXPECT_NE(fingerprint("a", "BF16", 2, 4, 'x'), base);
  EXPECT_NE(fingerprint("a", "F16", 3, 6, 'x'), base);
}

TEST(Checkpoint, NamesTheNearestOfAMissingTensor) {
  const test::TemporaryDirectory directory;
  directory.write("model.safetensors", one("model.norm.weight", 1));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());

  const std::string message =
      refusal(ErrorKind::checkpoint, [&] { checkpoint.find("model.norn.weight"); });

  TRIREME_EXPECT_CONTAINS(message, "tensor \"model.norn.weight\" is missing");
  TRIREME_EXPECT_CONTAINS(message, "the nearest there is \"model.norm.weight\"");
}

TEST(Checkpoint, RefusesAnUnusableTensorOnlyWhenItIsWanted) {
  const test::TemporaryDirectory directory;
  directory.write("model.safetensors",
                  safetensors_file(std::vector<test::TestTensor>{{"a", "F32", {1}, bytes_of({1})},
                                                                 {"f8", "F8_E4M3", {2}, "xx"}}));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());

  EXPECT_EQ(read_one(checkpoint, "a"), 1);
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::checkpoint, [&] { checkpoint.find("f8"); }),
                          "tensor \"f8\" dtype is F8_E4M3, expected F32, BF16 or F16");
}

TEST(Checkpoint, NamesFileAndSizesOfATruncatedFile) {
  const test::TemporaryDirectory directory;
  const std::string file = one("a", 1);
  const std::string path = directory.write("model.safetensors", file.substr(0, file.size() - 2));

  const std::string message =
      refusal(ErrorKind::checkpoint, [&] { Checkpoint::open(directory.path()); });

  EXPECT_EQ(message, cat(path, ": is ", file.size() - 2, " bytes long, expected ", file.size(),
                         ": the file is truncated"));
}

TEST(Checkpoint, NoticesAFileThatShrankAfterOpening) {
  const test::TemporaryDirectory directory;
  const std::string file = one("a", 1);
  const std::string path = directory.write("model.safetensors", file);
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  std::filesystem::resize_file(path, file.size() - 3);

  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::checkpoint, [&] { read_one(checkpoint, "a"); }),
                          "the file is truncated");
}

TEST(Checkpoint, NamesWhatIsMissing) {
  const test::TemporaryDirectory directory;

  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::missing, [&] { Checkpoint::open(directory.path()); }),
                          "holds neither model.safetensors nor model.safetensors.index.json");
  directory.write("model.safetensors.index.json", R"({"weight_map": {"a": "x.safetensors"}})");
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::missing, [&] { Checkpoint::open(directory.path()); }),
                          "x.safetensors: cannot be read");
}

TEST(Checkpoint, RefusesADirectoryInThePlaceOfAFile) {
  const test::TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() + "/model.safetensors");

  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::missing, [&] { Checkpoint::open(directory.path()); }),
                          "is not a regular file");
}

TEST(Checkpoint, RefusesEachBrokenIndexByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not JSON"},
      {"[]", "expected an object"},
      {"{}", "weight_map is missing or empty"},
      {R"({"weight_map": {}})", "weight_map is missing or empty"},
      {R"({"weight_map": ["a"]})", "weight_map is [\"a\"], expected an object"},
      {R"({"weight_map": {"a": 1}})", "weight_map[\"a\"] is 1, expected a file name"},
      {R"({"weight_map": {"a": ""}})", "file name \"\""},
      {R"({"weight_map": {"a": "../m.safetensors"}})", "file name \"../m.safetensors\""},
      {R"({"weight_map": {"a": "/etc/m.safetensors"}})", "file name \"/etc/m.safetensors\""},
      {R"({"weight_map": {"a": "sub/m.safetensors"}})", "inside the folder"},
      {R"({"weight_map": {"a": ".m.safetensors"}})", "inside the folder"},
      {R"({"weight_map": {"a": "m.safetensors\u0000.safetensors"}})", "inside the folder"},
      {R"({"weight_map": {"a": "m.bin"}})", "expected NAME.safetensors"},
      {R"({"weight_map": {"a": "m.safetensors", "a": "m.safetensors"}})", "\"a\" stands twice"},
      {R"({"weight_map": {"b": "m.safetensors"}})", "tensor \"b\" is missing"},
  };
  for (const auto& [index, message] : cases) {
    const test::TemporaryDirectory directory;
    directory.write("m.safetensors", one("a", 1));
    directory.write("model.safetensors.index.json", index);

    TRIREME_EXPECT_CONTAINS(
        refusal(ErrorKind::checkpoint, [&] { Checkpoint::open(directory.path()); }), message);
  }
}

}  // namespace
}  // namespace trireme::checkpoint
