#include "io/run_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "expect_error.h"
#include "io/disk_space.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::expect_error;
using test::TemporaryDirectory;

Manifest sample_manifest() {
  Manifest manifest;
  manifest.parts = {{"input", "aa"}, {"model", "bb"}, {"sampling", "{}"}};
  manifest.attributes["software"] = "trireme";
  manifest.attributes["seed"] = 7;
  manifest.attributes["hours"] = 1.5;
  return manifest;
}

TEST(RunDirectory, IsCreatedOnceAndSaysHowToGoOn) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("out.h5.run");
  RunDirectory::create(path);

  expect_error(ErrorKind::output, {path, "results merge", "--run-dir"},
               [&] { RunDirectory::create(path); });
  expect_error(ErrorKind::output, {"/no/such/place"},
               [] { RunDirectory::create("/no/such/place/run"); });
  expect_error(ErrorKind::missing, {"not-there"},
               [&] { RunDirectory::open(directory.file("not-there")); });
}

TEST(RunDirectory, IsNotRemovedUnderTheRunThatWorksInIt) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("run");
  const std::string process = "process " + std::to_string(::getpid()) + " on ";
  {
    const RunDirectory run = RunDirectory::create(path);
    run.write_nonce("n");
    ASSERT_TRUE(run.is_locked());

    expect_error(ErrorKind::output, {path, "a run is at work", process},
                 [&] { RunDirectory::open(path).remove(); });
    expect_error(ErrorKind::output, {"a run is at work"}, [&] { RunDirectory::check_idle(path); });
    expect_error(ErrorKind::output, {"a run is at work"}, [&] { RunDirectory::create(path); });
    EXPECT_EQ(run.read_nonce(), "n");
  }

  EXPECT_EQ(run_at_work(path), std::nullopt);
  RunDirectory::check_idle(path);
  EXPECT_TRUE(RunDirectory::open(path).remove().empty());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(RunDirectory, HoldsNoLockOfAnother) {
  const TemporaryDirectory directory;
  RunDirectory::create(directory.file("run"));
  std::filesystem::remove(directory.file("run") + "/lock");

  EXPECT_FALSE(RunDirectory::open(directory.file("run")).is_locked());
  EXPECT_TRUE(RunDirectory::open(directory.file("run")).remove().empty());
}

TEST(RunDirectory, SaysThatAFileIsOne) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("run", "mine");

  expect_error(ErrorKind::output, {path, "is a file", "--run-dir"},
               [&] { RunDirectory::check_absent(path); });
}

TEST(RunDirectory, KnowsThatAnotherTookItsPlace) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  Manifest manifest = sample_manifest();
  manifest.attributes["run_id"] = "one";
  run.write_manifest(manifest);
  run.write_nonce("n");
  run.check_is_of(manifest, "n");

  expect_error(ErrorKind::io, {run.path(), "no longer the directory of this run"},
               [&] { run.check_is_of(manifest, "m"); });
  Manifest other = manifest;
  other.attributes["run_id"] = "two";
  run.write_manifest(other);
  expect_error(ErrorKind::io, {"no longer"}, [&] { run.check_is_of(manifest, "n"); });
  EXPECT_TRUE(run.remove().empty());
  expect_error(ErrorKind::io, {"no longer", "No such file"},
               [&] { run.check_is_of(manifest, "n"); });
}

TEST(RunDirectory, KeepsTheNonce) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  expect_error(ErrorKind::missing, {"nonce"}, [&] { run.read_nonce(); });

  run.write_nonce("0123456789abcdef");

  EXPECT_EQ(RunDirectory::open(run.path()).read_nonce(), "0123456789abcdef");
}

TEST(RunDirectory, KeepsTheManifest) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  EXPECT_EQ(run.read_manifest(), std::nullopt);

  run.write_manifest(sample_manifest());

  const auto manifest = run.read_manifest();
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->parts, sample_manifest().parts);
  EXPECT_EQ(manifest->attributes, sample_manifest().attributes);
  EXPECT_EQ(manifest->fingerprint(), sample_manifest().fingerprint());
}

TEST(RunDirectory, RefusesAManifestThatWasChanged) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  const auto write = [&](const std::string& text) {
    std::ofstream(run.path() + "/manifest.json", std::ios::trunc) << text;
  };

  ASSERT_EQ(::mkfifo((run.path() + "/manifest.json").c_str(), 0600), 0);
  expect_error(ErrorKind::input, {"manifest.json", "not a regular file"},
               [&] { run.read_manifest(); });
  std::filesystem::remove(run.path() + "/manifest.json");

  for (const char* text :
       {"", "[]", "{}", R"({"schema":"other"})",
        R"({"schema":"trireme.run","parts":[],"attributes":{}})",
        R"({"schema":"trireme.run","parts":{"a":1},"attributes":{}})",
        R"({"schema":"trireme.run","parts":{},"attributes":{"a":[1]}})",
        R"({"schema":"trireme.run","parts":{"a":"b"},"attributes":{},"fingerprint":"x"})"}) {
    SCOPED_TRACE(text);
    write(text);
    expect_error(ErrorKind::input, {"manifest.json"}, [&] { run.read_manifest(); });
  }
}

TEST(RunDirectory, FingerprintDependsOnEveryPart) {
  const std::string fingerprint = sample_manifest().fingerprint();
  Manifest other_value = sample_manifest();
  other_value.parts[1].second = "bc";
  Manifest shifted = sample_manifest();
  shifted.parts[0] = {"inpu", "taa"};
  Manifest attributes = sample_manifest();
  attributes.attributes["created"] = "now";

  EXPECT_EQ(fingerprint.size(), 64U);
  EXPECT_NE(other_value.fingerprint(), fingerprint);
  EXPECT_NE(shifted.fingerprint(), fingerprint);
  EXPECT_EQ(attributes.fingerprint(), fingerprint);
}

TEST(RunDirectory, ListsItsJournalsInOrder) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  for (const JournalName name : {JournalName{0, 10, 0}, {0, 2, 1}, {0, 2, 0}, {1, 0, 0}}) {
    JournalWriter::create(run.path(), name);
  }
  std::ofstream(run.path() + "/j-0-0.wal") << "no journal";

  const std::vector<JournalName> expected = {{0, 2, 0}, {0, 2, 1}, {0, 10, 0}, {1, 0, 0}};

  EXPECT_EQ(run.journals(), expected);
  EXPECT_EQ(run.path_of({0, 2, 1}), run.path() + "/j-0-2-1.wal");
}

TEST(RunDirectory, RemovesWhatARunWritesAndNothingElse) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  run.write_manifest(sample_manifest());
  run.write_nonce("n");
  JournalWriter::create(run.path(), {0, 0, 0});
  std::ofstream(run.path() + "/thesis.tex") << "mine";

  EXPECT_EQ(run.remove(), std::vector<std::string>{"thesis.tex"});
  EXPECT_TRUE(std::filesystem::exists(run.path() + "/thesis.tex"));
  EXPECT_FALSE(std::filesystem::exists(run.path() + "/manifest.json"));

  std::filesystem::remove(run.path() + "/thesis.tex");
  EXPECT_TRUE(run.remove().empty());
  EXPECT_FALSE(std::filesystem::exists(run.path()));
}

TEST(DiskSpace, NamesBothFiguresAndThePlace) {
  const TemporaryDirectory directory;

  check_disk_space(directory.path(), 1);

  EXPECT_GT(free_disk_bytes(directory.file("out.h5")), 0U);
  expect_error(ErrorKind::io, {directory.path(), "18446744073709551615 bytes are needed"},
               [&] { check_disk_space(directory.path(), ~std::uint64_t{0}); });
}

TEST(DiskSpace, GrowsWithTheDemandAndSaturates) {
  DiskDemand demand;
  demand.num_rows = 1000;
  demand.tokens_per_row = 256;
  const std::uint64_t plain = disk_space_needed(demand);
  demand.logprobs = true;
  demand.top_k = 20;

  EXPECT_GT(plain, 1000U * 256U * 4U);
  EXPECT_GT(disk_space_needed(demand), plain);
  demand.num_rows = INT64_MAX;
  demand.tokens_per_row = INT64_MAX;
  EXPECT_EQ(disk_space_needed(demand), ~std::uint64_t{0});
}

}  // namespace
}  // namespace trireme::io
