// Expert loads of every program whose files are read, and broken ones.

#include "job/load_files.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/refusal.h"
#include "support/safetensors_file.h"
#include "support/temporary_directory.h"

namespace trireme::job {
namespace {

using test::refusal;
using test::safetensors_file;
using test::TemporaryDirectory;
using test::TestTensor;
using Counts = std::vector<std::int64_t>;
using Layers = std::vector<std::int32_t>;

std::string int64_bytes(const Counts& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)};
}

TestTensor counts_tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                         const Counts& values) {
  return {name, "I64", shape, int64_bytes(values)};
}

io::ExpertLoads read_text(const std::string& name, const std::string& text) {
  const TemporaryDirectory directory;
  return read_loads({directory.write(name, text)});
}

/// A folder of statistics that is sound: 2 ranks, iterations 100 and 101, layers 3 and 4.
class Statistics {
 public:
  Statistics() {
    folder_ = directory_.file("statistics");
    std::filesystem::create_directory(folder_);
    write("meta_info.json", R"({"num_experts": 2, "num_experts_per_token": 1})");
    write("rank0.safetensors",
          safetensors_file(
              {counts_tensor("100_3", {2}, {1, 2}), counts_tensor("100_4", {2}, {3, 0}),
               counts_tensor("101_3", {2}, {0, 3}), counts_tensor("101_4", {2}, {1, 2})}));
    write("rank1.safetensors",
          safetensors_file(
              {counts_tensor("100_3", {2}, {5, 5}), counts_tensor("100_4", {2}, {5, 5}),
               counts_tensor("101_3", {2}, {10, 0}), counts_tensor("101_4", {2}, {0, 10})}));
    write("rank0_raw.safetensors", "not looked at");
  }

  void write(const std::string& name, const std::string& text) const {
    directory_.write("statistics/" + name, text);
  }
  const std::string& folder() const { return folder_; }

 private:
  TemporaryDirectory directory_;
  std::string folder_;
};

TEST(LoadFiles, OwnFilesAreReadAndAdded) {
  const TemporaryDirectory directory;
  io::ExpertLoads loads;
  loads.num_experts = 2;
  loads.layer_index = {3};
  loads.window_seconds = {0};
  loads.counts = {1, 2};
  io::write_expert_loads(loads, directory.file("a.h5"));
  io::write_expert_loads(loads, directory.file("named otherwise"));

  const io::ExpertLoads sum =
      read_loads({directory.file("a.h5"), directory.file("named otherwise")});

  EXPECT_EQ(sum.counts, (Counts{1, 2, 1, 2}));
  EXPECT_EQ(sum.layer_index, (Layers{3}));
}

TEST(LoadFiles, StatisticsOfTensorRtLlmAreSummedOverRanks) {
  const Statistics statistics;

  const io::ExpertLoads loads = read_loads({statistics.folder()});

  EXPECT_EQ(loads.num_experts, 2);
  EXPECT_EQ(loads.top_k, 1);
  EXPECT_EQ(loads.layer_index, (Layers{3, 4}));
  EXPECT_EQ(loads.num_windows(), 2);
  EXPECT_EQ(loads.counts, (Counts{6, 7, 8, 5, 10, 3, 1, 12}));
}

TEST(LoadFiles, SafetensorsHoldOneTensor) {
  const io::ExpertLoads plain = read_text(
      "a.safetensors", safetensors_file({{"load", "F32", {2, 2}, test::bytes_of({1, 2, 3, 4})}}));
  const io::ExpertLoads steps =
      read_text("b", safetensors_file({counts_tensor("x", {2, 1, 2}, {1, 2, 3, 4})}));

  EXPECT_EQ(plain.counts, (Counts{1, 2, 3, 4}));
  EXPECT_EQ(plain.layer_index, (Layers{0, 1}));
  EXPECT_EQ(steps.num_windows(), 2);
  EXPECT_EQ(steps.counts, (Counts{1, 2, 3, 4}));
}

TEST(LoadFiles, AveragesKeepTheirFractionsButOnlyAlone) {
  const TemporaryDirectory directory;
  const std::string path = directory.write(
      "a.safetensors", safetensors_file({{"load", "F32", {1, 2}, test::bytes_of({0.5F, 2})}}));

  EXPECT_EQ(read_loads({path}).counts, (Counts{512, 2048}));
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::input,
                                  [&] {
                                    read_loads({path, path});
                                  }),
                          "a.safetensors: holds values with fractions");
}

TEST(LoadFiles, CountsOfSglangLeaveDenseLayersOut) {
  const io::ExpertLoads loads =
      read_text("loads.json",
                R"({"rank": 0, "other": [{"a": [1]}], "logical_count": [[[0, 0], [1, 2], [3, 4]],
          [[0, 0], [5, 6], [7, 8]]]})");

  EXPECT_EQ(loads.layer_index, (Layers{1, 2}));
  EXPECT_EQ(loads.num_windows(), 2);
  EXPECT_EQ(loads.counts, (Counts{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(LoadFiles, CountsMayHaveNoSteps) {
  const io::ExpertLoads loads =
      read_text("loads.json", R"( {"logical_count": [[1, 2.0], [3, 4]]})");

  EXPECT_EQ(loads.num_windows(), 1);
  EXPECT_EQ(loads.counts, (Counts{1, 2, 3, 4}));
}

TEST(LoadFiles, RowsCanBeginWithAnotherLayer) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("loads.json", R"({"logical_count": [[1, 2], [3, 4]]})");

  EXPECT_EQ(read_loads({path}, 3).layer_index, (Layers{3, 4}));
}

std::string trace(int num_entries) {
  std::string text = R"({"load_history": [)";
  for (int i = 0; i < num_entries; ++i) {
    text += std::string(i == 0 ? "" : ",") +
            R"({"time": 1.5, "logical_expert_load": [[1, 2], [3, )" + std::to_string(i) +
            R"(]], "tags": ["a", [1]]})";
  }
  return text + R"(], "end": true})";
}

TEST(LoadFiles, EntriesOfAShortTraceAreWindows) {
  const io::ExpertLoads loads = read_text("expert-load.json", trace(3));

  EXPECT_EQ(loads.counts, (Counts{1, 2, 3, 0, 1, 2, 3, 1, 1, 2, 3, 2}));
}

TEST(LoadFiles, HundredEntriesOfALongTraceAreAWindow) {
  const io::ExpertLoads two = read_text("expert-load.json", trace(200));
  const io::ExpertLoads odd = read_text("expert-load.json", trace(350));
  const io::ExpertLoads short_of = read_text("expert-load.json", trace(199));

  EXPECT_EQ(two.counts, (Counts{100, 200, 300, 4950, 100, 200, 300, 14950}));
  EXPECT_EQ(odd.num_windows(), 3);
  EXPECT_EQ(odd.counts[8], 150);
  EXPECT_EQ(odd.counts[11], 150 * (200 + 349) / 2);
  EXPECT_EQ(short_of.num_windows(), 199);
}

TEST(LoadFiles, TorchFilesAreRefusedWithTheWayOut) {
  const TemporaryDirectory directory;
  const std::vector<std::string> paths = {directory.write("a.pt", "any"),
                                          directory.write("b", "PK\x03\x04 zip"),
                                          directory.write("c", "\x80\x02 pickle")};
  for (const std::string& path : paths) {
    const std::string message = refusal(ErrorKind::input, [&] { read_loads({path}); });

    TRIREME_EXPECT_CONTAINS(message, path);
    TRIREME_EXPECT_CONTAINS(message, "torch.load('" + path + "', weights_only=True)");
  }
}

TEST(LoadFiles, OtherFilesAreRefused) {
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::input, [] { read_text("loads.csv", "1,2,3"); }),
                          "loads.csv: is no file");
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::input, [] { read_text("empty", ""); }),
                          "empty: is no file");
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::missing, [] { read_loads({"absent.h5"}); }),
                          "absent.h5");
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::input, [] { read_text("text.h5", "no"); }), "text.h5");
}

struct Broken {
  std::string text;
  std::vector<std::string> words;
};

std::string repeated(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(LoadFiles, BrokenJsonIsRefused) {
  const auto history = [](const std::string& entry) {
    return R"({"load_history": [{"logical_expert_load": [[1, 2]]}, )" + entry + "]}";
  };
  const std::vector<Broken> table = {
      {"{", {"not JSON"}},
      {"{}", {"neither logical_count nor load_history"}},
      {"[]", {"is a list"}},
      {R"({"logical_count": 3})", {"logical_count is a number"}},
      {R"({"logical_count": null})", {"logical_count is null"}},
      {R"({"logical_count": {}})", {"logical_count is an object"}},
      {R"({"logical_count": []})", {"empty list"}},
      {R"({"logical_count": [[]]})", {"empty list"}},
      {R"({"logical_count": [1, 2]})", {"is a number", "[layers][experts]"}},
      {R"({"logical_count": [[1, 2], [3]]})", {"layer 1", "has 1 experts, expected 2"}},
      {R"({"logical_count": [[1, 2], []]})", {"layer 1", "has 0 experts, expected 2"}},
      {R"({"logical_count": [[1, 2], [[3]]]})", {"deeper"}},
      {R"({"logical_count": [[[1]], [2]]})", {"is a number"}},
      {R"({"logical_count": [[[1]], []]})", {"empty list"}},
      {R"({"logical_count": [[[[1]]]]})", {"deeper"}},
      {R"({"logical_count": [[[1]], [[1], [2]]]})", {"step 1", "[2, 1]", "[1, 1]"}},
      {R"({"logical_count": [[1, -2]]})", {"layer 0 expert 1 holds -2"}},
      {R"({"logical_count": [[1, 1e300]]})", {"layer 0 expert 1 holds 1e+300"}},
      {R"({"logical_count": [[1, 1e999]]})", {"not JSON"}},
      {R"({"logical_count": [[1, NaN]]})", {"not JSON"}},
      {R"({"logical_count": [[1, true]]})", {"layer 0 expert 1 is a boolean"}},
      {R"({"logical_count": [[1, "2"]]})", {"layer 0 expert 1 is a string"}},
      {R"({"logical_count": [[1, {}]]})", {"layer 0 expert 1 is an object"}},
      {R"({"logical_count": [[9007199254740992, 2]]})", {"sum", "9.0072e+15"}},
      {R"({"logical_count": [[1]], "logical_count": [[1]]})", {"logical_count twice"}},
      {R"({"logical_count": [[1]], "load_history": [{"logical_expert_load": [[1]]}]})", {"both"}},
      {R"({"logical_count": [[1, 2]]} x)", {"not JSON"}},
      {"{\"logical_count\": [[" + repeated("1,", 32767) + "1]]}", {"at most 32767 experts"}},
      {"{\"logical_count\": [" + repeated("[1],", 4096) + "[1]]}", {"at most 4096 layers"}},
      {"{\"a\": " + repeated("[", 100000), {"nested deeper than 64"}},
      {R"({"load_history": 3})", {"load_history"}},
      {R"({"load_history": {}})", {"load_history is an object"}},
      {R"({"load_history": []})", {"no loads"}},
      {history("3"), {"load_history [1] is a number"}},
      {history("[]"), {"load_history [1] is a list"}},
      {history("{}"), {"load_history [1] has no logical_expert_load"}},
      {history(R"({"logical_expert_load": [[1, 2], [3, 4]]})"), {"step 1", "[2, 2]", "[1, 2]"}},
      {history(R"({"logical_expert_load": [[[1, 2]]]})"), {"deeper"}},
      {history(R"({"logical_expert_load": [[1, 2]], "logical_expert_load": [[1, 2]]})"),
       {"logical_expert_load twice"}},
      {R"({"load_history": [{"logical_expert_load": [[1, 2)", {"not JSON"}},
  };
  for (const Broken& broken : table) {
    SCOPED_TRACE(broken.text.substr(0, 200));

    const std::string message =
        refusal(ErrorKind::input, [&] { read_text("broken.json", broken.text); });

    TRIREME_EXPECT_CONTAINS(message, "broken.json: ");
    for (const std::string& words : broken.words) TRIREME_EXPECT_CONTAINS(message, words);
  }
}

TEST(LoadFiles, BrokenSafetensorsAreRefused) {
  const std::string sound = safetensors_file({counts_tensor("x", {1, 2}, {1, 2})});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  struct Case {
    std::string bytes;
    std::vector<std::string> words;
    ErrorKind kind = ErrorKind::input;
  };
  const ErrorKind broken = ErrorKind::checkpoint;
  const std::vector<Case> table = {
      {sound.substr(0, sound.size() - 1), {"truncated"}, broken},
      {sound.substr(0, 20), {"truncated"}, broken},
      {sound.substr(0, 5), {"truncated"}, broken},
      {"", {"truncated"}, broken},
      {sound + "x", {"bytes follow"}, broken},
      {safetensors_file("{]", ""), {"not JSON"}, broken},
      {safetensors_file({}), {"0 tensors"}},
      {safetensors_file({counts_tensor("x", {1, 2}, {1, 2}), counts_tensor("y", {1, 2}, {1, 2})}),
       {"2 tensors"}},
      {safetensors_file({counts_tensor("x", {2}, {1, 2})}), {"tensor \"x\"", "shape [2]"}},
      {safetensors_file({counts_tensor("x", {}, {1})}), {"tensor \"x\"", "shape"}},
      {safetensors_file({counts_tensor("x", {1, 1, 1, 1}, {1})}), {"shape [1, 1, 1, 1]"}},
      {safetensors_file({counts_tensor("x", {0, 2}, {})}), {"shape [0, 2]"}},
      {safetensors_file({counts_tensor("x", {0, 1, 2}, {})}), {"no loads"}},
      {safetensors_file({counts_tensor("x", {1, 2}, {1, -2})}), {"element 1 holds -2"}},
      {safetensors_file({counts_tensor("x", {1, 2}, {1, INT64_MAX})}), {"element 1 holds 9.2"}},
      {safetensors_file({{"x", "F32", {1, 2}, test::bytes_of({1, nan})}}), {"element 1 holds nan"}},
      {safetensors_file({{"x", "F32", {1, 1}, test::bytes_of({-1})}}), {"element 0 holds -1"}},
      {safetensors_file({{"x", "F16", {1, 1}, "ab"}}), {"tensor \"x\"", "I64, I32 or F32"}},
      {safetensors_file({{"x", "U8", {1, 1}, "a"}}), {"tensor \"x\"", "dtype is U8"}},
      {safetensors_file({{"x", "F64", {1, 1}, "abcdefgh"}}), {"dtype is F64"}},
  };
  for (std::size_t i = 0; i < table.size(); ++i) {
    SCOPED_TRACE(i);

    const std::string message =
        refusal(table[i].kind, [&] { read_text("broken.safetensors", table[i].bytes); });

    TRIREME_EXPECT_CONTAINS(message, "broken.safetensors");
    for (const std::string& words : table[i].words) TRIREME_EXPECT_CONTAINS(message, words);
  }
}

TEST(LoadFiles, BrokenStatisticsAreRefused) {
  struct Case {
    std::string file, text;
    std::vector<std::string> words;
    ErrorKind kind = ErrorKind::input;
  };
  const std::string meta = "meta_info.json", rank1 = "rank1.safetensors";
  const auto tensors = [](const std::vector<TestTensor>& all) { return safetensors_file(all); };
  const ErrorKind broken = ErrorKind::checkpoint;
  const std::vector<Case> table = {
      {meta, "", {"meta_info.json"}, broken},
      {meta, "[]", {"meta_info.json", "object"}, broken},
      {meta, "{}", {"meta_info.json", "num_experts"}, broken},
      {meta, R"({"num_experts": 0})", {"num_experts", "0"}, broken},
      {meta, R"({"num_experts": -2})", {"num_experts", "-2"}, broken},
      {meta, R"({"num_experts": "2"})", {"num_experts"}, broken},
      {meta, R"({"num_experts": 1e18})", {"num_experts"}, broken},
      {meta, R"({"num_experts": 3})", {"rank0.safetensors", "shape [2]", "expected [3]"}},
      {meta,
       R"({"num_experts": 2, "num_experts_per_token": 3})",
       {"num_experts_per_token"},
       broken},
      {"rank3.safetensors", tensors({}), {"3 files", "no rank2.safetensors"}},
      {rank1, "", {"rank1.safetensors", "truncated"}, broken},
      {rank1, tensors({counts_tensor("102_3", {2}, {1, 2})}), {"no rank has", "\"102_4\""}},
      {rank1, tensors({counts_tensor("100_5", {2}, {1, 2})}), {"no rank has", "\"101_5\""}},
      {rank1, tensors({counts_tensor("weights", {2}, {1, 2})}), {"\"weights\"", "100_3"}},
      {rank1, tensors({counts_tensor("100_", {2}, {1, 2})}), {"\"100_\""}},
      {rank1, tensors({counts_tensor("_3", {2}, {1, 2})}), {"\"_3\""}},
      {rank1, tensors({counts_tensor("100_-3", {2}, {1, 2})}), {"\"100_-3\""}},
      {rank1, tensors({counts_tensor("100_3x", {2}, {1, 2})}), {"\"100_3x\""}},
      {rank1, tensors({counts_tensor("99999999999999999999_3", {2}, {1, 2})}), {"9999_3"}},
      {rank1, tensors({counts_tensor("100_99999", {2}, {1, 2})}), {"\"100_99999\""}},
      {rank1, tensors({counts_tensor("100_3", {2, 1}, {1, 2})}), {"\"100_3\"", "shape [2, 1]"}},
      {rank1, tensors({counts_tensor("100_3", {2}, {1, -7})}), {"\"100_3\" element 1 holds -7"}},
      {rank1, tensors({{"100_3", "BF16", {2}, "abcd"}}), {"\"100_3\"", "I64, I32 or F32"}},
  };
  for (const Case& one : table) {
    SCOPED_TRACE(one.file + " " + one.text.substr(0, 100));
    const Statistics statistics;
    statistics.write(one.file, one.text);

    const std::string message = refusal(one.kind, [&] { read_loads({statistics.folder()}); });

    for (const std::string& words : one.words) TRIREME_EXPECT_CONTAINS(message, words);
  }
}

TEST(LoadFiles, AFolderWithoutStatisticsIsRefused) {
  const TemporaryDirectory directory;
  const Statistics statistics;
  std::filesystem::remove(statistics.folder() + "/rank0.safetensors");

  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::missing, [&] { read_loads({directory.path()}); }),
                          "meta_info.json");
  TRIREME_EXPECT_CONTAINS(refusal(ErrorKind::input, [&] { read_loads({statistics.folder()}); }),
                          "no rank0.safetensors");
}

}  // namespace
}  // namespace trireme::job
