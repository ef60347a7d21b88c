// Round trips of loads files, what Python users write, every rule of the schema broken once, and
// sums of several files.

#include "io/expert_loads.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>

#include "expect_error.h"
#include "support/hdf5_builder.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::expect_error;
using test::Hdf5Builder;
using test::TemporaryDirectory;

constexpr hsize_t kHuge = hsize_t{1} << 60;

/// 2 windows, 2 layers (3 and 5), 3 experts, 2 domains, choices of 2 tokens.
ExpertLoads sample_loads() {
  ExpertLoads loads;
  loads.model_name = "models/tiny";
  loads.model_hash = "abc";
  loads.top_k = 2;
  loads.tokens = 6;
  loads.num_experts = 3;
  loads.layer_index = {3, 5};
  loads.window_seconds = {60, 12.5};
  loads.counts = {1, 2, 3, 3, 2, 1, 2, 2, 2, 6, 0, 0};
  loads.domains = {"law", "poetry"};
  loads.by_domain = {1, 1, 1, 1, 1, 1, 2, 3, 4, 8, 1, 0};
  loads.choices = {{0, 1, 2, 0}, {1, 2, 0, 1}};
  loads.choices_home = {0, 1};
  return loads;
}

void expect_equal(const ExpertLoads& a, const ExpertLoads& b) {
  EXPECT_EQ(a.model_name, b.model_name);
  EXPECT_EQ(a.model_hash, b.model_hash);
  EXPECT_EQ(a.top_k, b.top_k);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.num_experts, b.num_experts);
  EXPECT_EQ(a.layer_index, b.layer_index);
  EXPECT_EQ(a.window_seconds, b.window_seconds);
  EXPECT_EQ(a.counts, b.counts);
  EXPECT_EQ(a.domains, b.domains);
  EXPECT_EQ(a.by_domain, b.by_domain);
  EXPECT_EQ(a.choices, b.choices);
  EXPECT_EQ(a.choices_home, b.choices_home);
}

/// Numbers of any shape: the builder itself writes lists.
Hdf5Builder& numbers(Hdf5Builder& file, const std::string& path, const std::vector<hsize_t>& shape,
                     const std::vector<std::int64_t>& values, hid_t type = H5T_STD_I64LE) {
  file.declared(path, shape, type);
  const hid_t dataset = H5Dopen2(file.file(), path.c_str(), H5P_DEFAULT);
  H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  H5Dclose(dataset);
  return file;
}

/// A sound file of 2 layers and 3 experts with this many other things.
Hdf5Builder& sound(Hdf5Builder& file) {
  return numbers(file, "/expert_loads", {2, 3}, {1, 2, 3, 4, 5, 6});
}

TEST(ExpertLoads, ComeBackAsTheyWereWritten) {
  const TemporaryDirectory directory;
  const ExpertLoads loads = sample_loads();

  write_expert_loads(loads, directory.file("loads.h5"));

  expect_equal(read_expert_loads(directory.file("loads.h5")), loads);
  EXPECT_FALSE(std::filesystem::exists(directory.file("loads.h5.tmp")));
}

TEST(ExpertLoads, ComeBackWithoutWindowsDomainsAndChoices) {
  const TemporaryDirectory directory;
  ExpertLoads loads;
  loads.num_experts = 3;
  loads.layer_index = {0, 1};
  loads.window_seconds = {0};
  loads.counts = {1, 2, 3, 4, 5, 6};

  write_expert_loads(loads, directory.file("loads.h5"));

  expect_equal(read_expert_loads(directory.file("loads.h5")), loads);
}

TEST(ExpertLoads, NothingButTheCountsIsComplete) {
  const TemporaryDirectory directory;
  {
    Hdf5Builder file(directory.file("loads.h5"));
    sound(file);
  }

  const ExpertLoads loads = read_expert_loads(directory.file("loads.h5"));

  EXPECT_EQ(loads.num_experts, 3);
  EXPECT_EQ(loads.layer_index, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(loads.window_seconds, (std::vector<double>{0}));
  EXPECT_EQ(loads.counts, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(loads.model_hash.empty());
}

TEST(ExpertLoads, TakesNarrowTypesFixedStringsAndWholeSeconds) {
  const TemporaryDirectory directory;
  {
    Hdf5Builder file(directory.file("loads.h5"));
    numbers(file, "/expert_loads", {2, 1, 2}, {1, 2, 3, 4}, H5T_STD_U16BE);
    file.numbers("/window_seconds", {60, 30}, H5T_STD_I32LE);
    file.fixed_strings("/domains", 8, {"law"});
    numbers(file, "/by_domain", {1, 1, 2}, {4, 6}, H5T_STD_I32LE);
  }

  const ExpertLoads loads = read_expert_loads(directory.file("loads.h5"));

  EXPECT_EQ(loads.counts, (std::vector<std::int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(loads.window_seconds, (std::vector<double>{60, 30}));
  EXPECT_EQ(loads.domains, (std::vector<std::string>{"law"}));
  EXPECT_EQ(loads.by_domain, (std::vector<std::int64_t>{4, 6}));
}

TEST(ExpertLoads, ReplaceAFileThatIsThere) {
  const TemporaryDirectory directory;
  directory.write("loads.h5", "something else");

  write_expert_loads(sample_loads(), directory.file("loads.h5"));

  expect_equal(read_expert_loads(directory.file("loads.h5")), sample_loads());
}

TEST(ExpertLoads, HashTellsWhatAPlanDependsOn) {
  const ExpertLoads loads = sample_loads();
  ExpertLoads other = loads;
  other.counts.back() += 1;
  ExpertLoads renamed = loads;
  renamed.model_name = "elsewhere/tiny";

  EXPECT_NE(content_hash(loads), content_hash(other));
  EXPECT_EQ(content_hash(loads), content_hash(renamed));
  EXPECT_EQ(content_hash(loads).size(), 64);
}

struct Mutant {
  const char* name;
  std::function<void(Hdf5Builder&)> build;
  std::vector<std::string> parts;  // what the message holds beside the file's name
};

std::vector<Mutant> mutants_of_counts() {
  return {
      {"nothing", [](Hdf5Builder&) {}, {"/expert_loads", "not there"}},
      {"a list",
       [](Hdf5Builder& f) {
         f.numbers("/expert_loads", {1, 2});
       },
       {"shape [2]"}},
      {"four dimensions",
       [](Hdf5Builder& f) {
         numbers(f, "/expert_loads", {1, 1, 1, 1}, {1});
       },
       {"/expert_loads", "shape [1, 1, 1, 1]"}},
      {"a scalar",
       [](Hdf5Builder& f) { f.declared("/expert_loads", {}, H5T_STD_I64LE); },
       {"/expert_loads", "shape []"}},
      {"no layers",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {0, 8}, H5T_STD_I64LE);
       },
       {"/expert_loads", "shape [0, 8]", "layers"}},
      {"no experts",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {8, 0}, H5T_STD_I64LE);
       },
       {"/expert_loads", "shape [8, 0]", "experts"}},
      {"no windows",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {0, 2, 8}, H5T_STD_I64LE);
       },
       {"/expert_loads", "shape [0, 2, 8]"}},
      {"too many experts",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {1, 32768}, H5T_STD_I64LE);
       },
       {"/expert_loads", "shape [1, 32768]", "32767 experts"}},
      {"2^60 layers",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {kHuge, 8}, H5T_STD_I64LE, {64, 8});
       },
       {"/expert_loads", "1152921504606846976", "at most 134217728"}},
      {"dimensions whose product overflows",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {kHuge, kHuge, 16}, H5T_STD_I64LE, {64, 8, 8});
       },
       {"/expert_loads", "at most 134217728"}},
      {"counts that were never written",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {100, 100}, H5T_STD_I64LE, {10, 10});
       },
       {"/expert_loads", "shape [100, 100]", "ever written"}},
      {"chunks of 512 MiB",
       [](Hdf5Builder& f) {
         f.declared("/expert_loads", {4096, 16384}, H5T_STD_I64LE, {4096, 16384});
       },
       {"/expert_loads", "chunks of 536870912"}},
      {"floats",
       [](Hdf5Builder& f) {
         f.floats("/expert_loads", {1, 2});
       },
       {"/expert_loads", "float64", "int64"}},
      {"NaN",
       [](Hdf5Builder& f) {
         f.floats("/expert_loads", {std::numeric_limits<double>::quiet_NaN()});
       },
       {"/expert_loads", "float64", "int64"}},
      {"strings",
       [](Hdf5Builder& f) { f.strings("/expert_loads", {"1"}); },
       {"/expert_loads", "vlen string", "int64"}},
      {"integers of 128 bits",
       [](Hdf5Builder& f) {
         const hid_t type = H5Tcopy(H5T_STD_I64LE);
         H5Tset_size(type, 16);
         f.declared("/expert_loads", {1, 2}, type);
         H5Tclose(type);
       },
       {"/expert_loads", "int128", "int64"}},
      {"a negative count",
       [](Hdf5Builder& f) {
         numbers(f, "/expert_loads", {2, 3}, {1, 2, 3, 4, -5, 6});
       },
       {"/expert_loads", "holds -5 at [1, 1]", "from 0"}},
      {"a count beyond all sense",
       [](Hdf5Builder& f) {
         numbers(f, "/expert_loads", {1, 2}, {1, INT64_MAX});
       },
       {"/expert_loads", "9223372036854775807 at [0, 1]", "sum above 9007199254740992"}},
      {"counts whose sum is",
       [](Hdf5Builder& f) {
         numbers(f, "/expert_loads", {1, 2}, {1LL << 52, (1LL << 52) + 1});
       },
       {"/expert_loads", "sum above 9007199254740992"}},
      {"a group", [](Hdf5Builder& f) { f.group("/expert_loads"); }, {"/expert_loads"}},
      {"data in another file",
       [](Hdf5Builder& f) { f.external("/expert_loads", "/etc/passwd", 8); },
       {"/expert_loads", "other files"}},
      {"a virtual dataset",
       [](Hdf5Builder& f) { f.virtual_dataset("/expert_loads", "other.h5", 8); },
       {"/expert_loads", "other files"}},
      {"a link into another file",
       [](Hdf5Builder& f) { f.external_link("/expert_loads", "other.h5", "/expert_loads"); },
       {"/expert_loads", "link"}},
      {"a soft link",
       [](Hdf5Builder& f) { sound(f).soft_link("/layer_index", "/expert_loads"); },
       {"/layer_index", "link"}},
      {"another schema",
       [](Hdf5Builder& f) { sound(f).attribute("schema", "trireme.prompts"); },
       {"schema", "trireme.prompts", "trireme.expert_loads"}},
      {"another version",
       [](Hdf5Builder& f) { sound(f).attribute("schema_version", "2.0.0"); },
       {"schema_version", "2.0.0"}},
  };
}

std::vector<Mutant> mutants_of_the_rest() {
  return {
      {"too few layer numbers",
       [](Hdf5Builder& f) { sound(f).numbers("/layer_index", {3}); },
       {"/layer_index", "shape [1]", "expected [2]"}},
      {"a layer twice",
       [](Hdf5Builder& f) {
         sound(f).numbers("/layer_index", {3, 3});
       },
       {"/layer_index", "holds 3 at [1]", "ascending"}},
      {"a negative layer",
       [](Hdf5Builder& f) {
         sound(f).numbers("/layer_index", {-1, 3});
       },
       {"/layer_index", "holds -1 at [0]"}},
      {"a layer of 2^40",
       [](Hdf5Builder& f) {
         sound(f).numbers("/layer_index", {1, 1LL << 40});
       },
       {"/layer_index", "holds 1099511627776 at [1]"}},
      {"layers as floats",
       [](Hdf5Builder& f) {
         sound(f).floats("/layer_index", {0, 1});
       },
       {"/layer_index", "float64"}},
      {"two times for one window",
       [](Hdf5Builder& f) {
         sound(f).floats("/window_seconds", {60, 60});
       },
       {"/window_seconds", "shape [2]", "expected [1]"}},
      {"a window of NaN seconds",
       [](Hdf5Builder& f) {
         sound(f).floats("/window_seconds", {std::numeric_limits<double>::quiet_NaN()});
       },
       {"/window_seconds", "nan at [0]"}},
      {"a negative window",
       [](Hdf5Builder& f) { sound(f).floats("/window_seconds", {-1}); },
       {"/window_seconds", "holds -1 at [0]"}},
      {"domains without sums",
       [](Hdf5Builder& f) { sound(f).strings("/domains", {"law"}); },
       {"/domains without /by_domain"}},
      {"sums without domains",
       [](Hdf5Builder& f) {
         numbers(sound(f), "/by_domain", {1, 2, 3}, {1, 2, 3, 4, 5, 6});
       },
       {"/by_domain without /domains"}},
      {"sums of other domains",
       [](Hdf5Builder& f) {
         numbers(sound(f).strings("/domains", {"law"}), "/by_domain", {2, 2, 3},
                 std::vector<std::int64_t>(12, 1));
       },
       {"/by_domain", "shape [2, 2, 3]", "expected [1, 2, 3]"}},
      {"negative sums",
       [](Hdf5Builder& f) {
         numbers(sound(f).strings("/domains", {"law"}), "/by_domain", {1, 2, 3},
                 {1, 2, 3, 4, 5, -6});
       },
       {"/by_domain", "holds -6 at [0, 1, 2]"}},
      {"a domain twice",
       [](Hdf5Builder& f) {
         numbers(sound(f).strings("/domains", {"law", "law"}), "/by_domain", {2, 2, 3},
                 std::vector<std::int64_t>(12, 1));
       },
       {"/domains", "'law' twice"}},
      {"too many domains",
       [](Hdf5Builder& f) {
         sound(f)
             .strings("/domains", std::vector<std::string>(1025, "law"))
             .declared("/by_domain", {1025, 2, 3}, H5T_STD_I64LE);
       },
       {"/domains", "shape [1025]", "at most 1024"}},
      {"a domain that is no text",
       [](Hdf5Builder& f) {
         numbers(sound(f).strings("/domains", {"\xff"}), "/by_domain", {1, 2, 3},
                 std::vector<std::int64_t>(6, 1));
       },
       {"/domains", "UTF-8"}},
      {"a model hash that is a number",
       [](Hdf5Builder& f) { sound(f).attribute("model_hash", std::int64_t{7}); },
       {"attribute model_hash", "string"}},
      {"a negative top_k",
       [](Hdf5Builder& f) { sound(f).attribute("top_k", std::int64_t{-1}); },
       {"attribute top_k is -1"}},
      {"a top_k above the experts",
       [](Hdf5Builder& f) { sound(f).attribute("top_k", std::int64_t{4}); },
       {"attribute top_k is 4", "from 0 to 3"}},
      {"tokens that are half",
       [](Hdf5Builder& f) { sound(f).attribute("tokens", 0.5); },
       {"attribute tokens is 0.5"}},
  };
}

std::vector<Mutant> mutants_of_choices() {
  const auto layer = [](Hdf5Builder& f, const char* name, const std::vector<hsize_t>& shape,
                        const std::vector<std::int64_t>& ids) {
    numbers(f, name, shape, ids, H5T_STD_I16LE);
  };
  return {
      {"a layer without choices",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 1});
       },
       {"/choices/1", "not there"}},
      {"no homes",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 1});
         layer(f, "/choices/1", {1, 2}, {0, 1});
       },
       {"/choices without /choices_home"}},
      {"other tokens in another layer",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 1});
         layer(f, "/choices/1", {2, 2}, {0, 1, 1, 2});
       },
       {"/choices/1", "shape [2, 2]", "expected [1, 2]"}},
      {"a list of choices",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {2}, {0, 1});
       },
       {"/choices/0", "shape [2]", "[tokens, top_k]"}},
      {"an expert that is none",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 3});
       },
       {"/choices/0", "holds 3 at [0, 1]", "0 to 2"}},
      {"an expert of -1",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {-1, 2});
       },
       {"/choices/0", "holds -1 at [0, 0]"}},
      {"another top_k than announced",
       [=](Hdf5Builder& f) {
         layer(sound(f).attribute("top_k", std::int64_t{1}), "/choices/0", {1, 2}, {0, 1});
       },
       {"/choices/0", "shape [1, 2]", "expected [1, 1]"}},
      {"2^60 tokens",
       [=](Hdf5Builder& f) {
         sound(f).group("/choices").declared("/choices/0", {kHuge, 2}, H5T_STD_I16LE, {64, 2});
       },
       {"/choices/0", "at most 268435456"}},
      {"too few homes",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 1});
         layer(f, "/choices/1", {1, 2}, {0, 1});
         f.numbers("/choices_home", {0, 1});
       },
       {"/choices_home", "shape [2]", "expected [1]"}},
      {"a negative home",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 1});
         layer(f, "/choices/1", {1, 2}, {0, 1});
         f.numbers("/choices_home", {-1});
       },
       {"/choices_home", "holds -1 at [0]"}},
      {"choices behind a link",
       [=](Hdf5Builder& f) {
         layer(sound(f), "/choices/0", {1, 2}, {0, 1});
         f.external_link("/choices/1", "other.h5", "/choices/1");
       },
       {"/choices/1", "link"}},
  };
}

TEST(ExpertLoads, EveryBrokenRuleIsNamed) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("broken.h5");
  for (const auto& mutants : {mutants_of_counts(), mutants_of_the_rest(), mutants_of_choices()}) {
    for (const Mutant& mutant : mutants) {
      SCOPED_TRACE(mutant.name);
      {
        Hdf5Builder file(path);
        mutant.build(file);
      }
      std::vector<std::string> parts = mutant.parts;
      parts.push_back("broken.h5");
      expect_error(ErrorKind::input, parts, [&] { read_expert_loads(path); });
    }
  }
}

TEST(ExpertLoads, CutAnywhereAreRefusedOrWhole) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("loads.h5");
  write_expert_loads(sample_loads(), path);
  const auto size = std::filesystem::file_size(path);

  for (std::uintmax_t cut = 0; cut < size; cut += 1 + size / 97) {
    std::filesystem::copy_file(path, directory.file("cut.h5"),
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(directory.file("cut.h5"), cut);
    expect_error(ErrorKind::input, {"cut.h5"},
                 [&] { read_expert_loads(directory.file("cut.h5")); });
  }
}

TEST(ExpertLoads, ThatAreMissingOrNoHdf5AreToldApart) {
  const TemporaryDirectory directory;
  directory.write("text.h5", "these are no loads");

  expect_error(ErrorKind::missing, {"absent.h5"},
               [&] { read_expert_loads(directory.file("absent.h5")); });
  expect_error(ErrorKind::input, {"text.h5"},
               [&] { read_expert_loads(directory.file("text.h5")); });
}

TEST(MergeLoads, PutsWindowsBehindEachOtherAndUnitesDomains) {
  const ExpertLoads first = sample_loads();
  ExpertLoads second = sample_loads();
  second.window_seconds = {7};
  second.counts = {1, 1, 1, 1, 1, 1};
  second.domains = {"poetry", "code"};
  second.by_domain = {1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1};

  const std::vector<ExpertLoads> files = {first, second};
  const ExpertLoads merged = merge_loads(files, std::vector<std::string>{"a.h5", "b.h5"});

  EXPECT_EQ(merged.window_seconds, (std::vector<double>{60, 12.5, 7}));
  EXPECT_EQ(merged.num_windows() * 6, std::ssize(merged.counts));
  EXPECT_EQ(total_counts(merged), (std::vector<std::int64_t>{4, 5, 6, 10, 3, 2}));
  EXPECT_EQ(merged.domains, (std::vector<std::string>{"law", "poetry", "code"}));
  EXPECT_EQ(merged.by_domain,
            (std::vector<std::int64_t>{1, 1, 1, 1, 1, 1, 3, 3, 4, 9, 1, 0, 0, 1, 1, 0, 1, 1}));
  EXPECT_EQ(merged.tokens, 12);
  EXPECT_EQ(merged.choices[1], (std::vector<std::int16_t>{1, 2, 0, 1, 1, 2, 0, 1}));
  EXPECT_EQ(merged.choices_home, (std::vector<std::int32_t>{0, 1, 0, 1}));
}

TEST(MergeLoads, OfOneFileIsThatFile) {
  const std::vector<ExpertLoads> files = {sample_loads()};

  expect_equal(merge_loads(files, std::vector<std::string>{"a.h5"}), sample_loads());
}

TEST(MergeLoads, CountsWithoutADomainAreOther) {
  ExpertLoads plain = sample_loads();
  plain.domains.clear();
  plain.by_domain.clear();
  const std::vector<ExpertLoads> files = {sample_loads(), plain};

  const ExpertLoads merged = merge_loads(files, std::vector<std::string>{"a.h5", "b.h5"});

  EXPECT_EQ(merged.domains, (std::vector<std::string>{"law", "poetry", "(other)"}));
  EXPECT_EQ(merged.by_domain.size(), 18);
  EXPECT_EQ(merged.by_domain[12], 3);
}

TEST(MergeLoads, KeepsNoMoreDomainsThanAFileMayHold) {
  ExpertLoads first = sample_loads();
  first.domains.clear();
  for (int i = 0; i < 1024; ++i) first.domains.push_back("a" + std::to_string(i));
  first.by_domain.assign(1024 * 6, 1);
  ExpertLoads second = first;
  for (std::string& name : second.domains) name[0] = 'b';
  const std::vector<ExpertLoads> files = {first, second};

  const ExpertLoads merged = merge_loads(files, std::vector<std::string>{"a.h5", "b.h5"});

  EXPECT_EQ(merged.domains.size(), 1024);
  EXPECT_EQ(merged.domains.back(), "(other)");
  EXPECT_EQ(std::accumulate(merged.by_domain.begin(), merged.by_domain.end(), 0), 2048 * 6);
}

TEST(MergeLoads, RefusesAnotherModel) {
  const auto refused = [](const std::function<void(ExpertLoads&)>& change,
                          std::vector<std::string> parts) {
    std::vector<ExpertLoads> files = {sample_loads(), sample_loads()};
    change(files[1]);
    parts.emplace_back("other.h5");
    parts.emplace_back("first.h5");
    expect_error(ErrorKind::input, parts, [&] {
      merge_loads(files, std::vector<std::string>{"first.h5", "other.h5"});
    });
  };
  refused([](ExpertLoads& loads) { loads.model_hash = "xyz"; },
          {"model_hash is xyz", "expected abc"});
  refused([](ExpertLoads& loads) { loads.layer_index = {3, 6}; }, {"layers 3, 6", "3, 5"});
  refused(
      [](ExpertLoads& loads) {
        loads.num_experts = 2;
        loads.counts.resize(8);
      },
      {"2 experts", "expected 3"});
  refused([](ExpertLoads& loads) { loads.top_k = 1; }, {"top_k is 1", "expected 2"});
}

TEST(MergeLoads, KnowsAModelByAnyOfTheFiles) {
  std::vector<ExpertLoads> files(3, sample_loads());
  files[0].model_hash.clear();
  files[2].model_hash = "xyz";
  const std::vector<std::string> names = {"a.h5", "b.h5", "c.h5"};

  expect_error(ErrorKind::input, {"c.h5", "xyz", "abc"}, [&] { merge_loads(files, names); });
}

}  // namespace
}  // namespace trireme::io
