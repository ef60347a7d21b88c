#include "io/result_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "expect_error.h"
#include "io/hdf5_file.h"
#include "io/result_reader.h"
#include "sample_rows.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::error_row;
using test::expect_error;
using test::full_row;
using test::TemporaryDirectory;

class Results : public testing::Test {
 protected:
  Results() : run_(RunDirectory::create(directory_.file("run"))) { options_.output = output(); }

  std::string output() const { return directory_.file("r.h5"); }

  void write(const JournalName& name, const std::vector<ResultRow>& rows,
             std::uint32_t run_tag = 0) {
    JournalWriter writer = JournalWriter::create(run_.path(), name, run_tag);
    for (const ResultRow& row : rows) writer.append(row);
  }

  TemporaryDirectory directory_;
  RunDirectory run_;
  MergeOptions options_;
};

TEST_F(Results, AreSortedAndKeepEveryColumn) {
  write({0, 0, 0}, {full_row(5), full_row(1, 1)});
  write({0, 4, 0}, {full_row(1, 0), full_row(0)});

  const MergeReport report = merge_results(run_, options_);

  EXPECT_EQ(report.num_rows, 4);
  EXPECT_EQ(report.num_ok, 4);
  EXPECT_TRUE(report.warnings.empty());
  ResultReader reader = ResultReader::open(output());
  ASSERT_EQ(reader.num_rows(), 4);
  const std::vector<ResultRow> expected = {full_row(0), full_row(1, 0), full_row(1, 1),
                                           full_row(5)};
  for (std::int64_t i = 0; i < 4; ++i) {
    const ResultRow row = reader.read_row(i);
    const ResultRow& want = expected[static_cast<std::size_t>(i)];
    EXPECT_TRUE(same_result(row, want)) << i;
    EXPECT_EQ(row.time_queued, want.time_queued);
    EXPECT_EQ(row.time_first_token, want.time_first_token);
    EXPECT_EQ(row.time_done, want.time_done);
    EXPECT_EQ(row.rank, want.rank);
  }
  EXPECT_FALSE(std::filesystem::exists(output() + ".tmp"));
}

TEST_F(Results, HaveTheDocumentedSchema) {
  ResultRow numbered = error_row(2, "too long");
  numbered.custom_id = std::int64_t{20};
  ResultRow other = full_row(3);
  other.custom_id = std::int64_t{30};
  write({0, 0, 0}, {numbered, other});
  options_.complete = true;
  options_.attributes["software"] = "trireme";
  options_.attributes["n_ok"] = 99;  // the merge knows better

  const MergeReport report = merge_results(run_, options_);

  EXPECT_EQ(report.num_error, 1);
  EXPECT_EQ(report.first_error, "row 2: too long");
  const Hdf5File file = Hdf5File::open(output());
  EXPECT_EQ(file.attribute("/", "schema"), "trireme.results");
  EXPECT_EQ(file.attribute("/", "schema_version"), "1.0.0");
  EXPECT_EQ(file.attribute("/", "complete"), 1);
  EXPECT_EQ(file.attribute("/", "n_ok"), 1);
  EXPECT_EQ(file.attribute("/", "n_error"), 1);
  EXPECT_EQ(file.attribute("/", "software"), "trireme");
  EXPECT_EQ(file.attribute("/time/done", "units"), "s");
  EXPECT_EQ(file.dataset("/custom_id").read<std::int64_t>(0, 2),
            (std::vector<std::int64_t>{20, 30}));
  EXPECT_EQ(file.dataset("/status").read<std::uint8_t>(0, 2), (std::vector<std::uint8_t>{1, 0}));
  EXPECT_EQ(file.dataset("/finish_reason").read<std::uint8_t>(0, 2),
            (std::vector<std::uint8_t>{2, 1}));
  EXPECT_EQ(file.dataset("/output_ids/offsets").read<std::int64_t>(0, 3),
            (std::vector<std::int64_t>{0, 0, 2}));
  EXPECT_EQ(file.dataset("/logprobs/offsets").read<std::int64_t>(0, 3),
            (std::vector<std::int64_t>{0, 0, 2}));
  EXPECT_EQ(file.dataset("/top_logprobs/ids").info().shape, (std::vector<std::uint64_t>{2, 2}));
  EXPECT_EQ(file.dataset("/prompt_logprobs/offsets").read<std::int64_t>(0, 3),
            (std::vector<std::int64_t>{0, 0, 3}));
  EXPECT_TRUE(std::isnan(file.dataset("/prompt_logprobs/data").read<float>(0, 1)[0]));
  EXPECT_EQ(file.dataset("/seed").info().type_name, "uint64");
  EXPECT_EQ(*file.dataset("/error").read_strings(0, 2, 100),
            (std::vector<std::string>{"too long", ""}));
}

TEST_F(Results, LeaveOutColumnsThatNobodyAskedFor) {
  ResultRow plain;
  plain.output_ids = {1, 2, 3};
  write({0, 0, 0}, {plain});

  merge_results(run_, options_);

  const Hdf5File file = Hdf5File::open(output());
  std::vector<std::string> names;
  for (const LinkInfo& link : file.links("/")) names.push_back(link.name);
  const std::vector<std::string> always = {"completion_tokens",
                                           "custom_id",
                                           "error",
                                           "finish_reason",
                                           "index",
                                           "output_ids",
                                           "prompt_tokens",
                                           "rank",
                                           "sample",
                                           "seed",
                                           "status",
                                           "text",
                                           "time"};
  EXPECT_EQ(names, always);
  EXPECT_EQ(*file.dataset("/custom_id").read_strings(0, 1, 100), std::vector<std::string>{""});
}

TEST_F(Results, AlignLogprobsOfRowsThatAskedForLess) {
  ResultRow narrow = full_row(0);
  narrow.top_k = 1;
  narrow.top_logprob_ids = {11, 0};
  narrow.top_logprobs = {-0.5F, -1.25F};
  ResultRow none = full_row(1);
  none.has_logprobs = false;
  none.logprobs.clear();
  none.top_k = 0;
  none.top_logprob_ids.clear();
  none.top_logprobs.clear();
  write({0, 0, 0}, {narrow, none, full_row(2)});

  merge_results(run_, options_);

  ResultReader reader = ResultReader::open(output());
  EXPECT_TRUE(same_result(reader.read_row(0), narrow));
  EXPECT_TRUE(same_result(reader.read_row(1), none));
  EXPECT_TRUE(same_result(reader.read_row(2), full_row(2)));
  const Hdf5File file = Hdf5File::open(output());
  EXPECT_EQ(file.dataset("/top_logprobs/ids").read<std::int32_t>(0, 6),
            (std::vector<std::int32_t>{11, -1, 0, -1, -1, -1, -1, -1, 11, 4, 2, 9}));
}

TEST_F(Results, KeepTheFirstOfEqualRowsAndTellDifferingOnes) {
  ResultRow later = full_row(1);
  later.rank = 9;
  later.time_done = 77;
  ResultRow different = full_row(2);
  different.text = "something else";
  write({0, 0, 0}, {full_row(1), full_row(2)});
  write({1, 0, 0}, {different, later});

  const MergeReport report = merge_results(run_, options_);

  EXPECT_EQ(report.num_rows, 2);
  EXPECT_EQ(report.num_duplicates, 2);
  EXPECT_EQ(report.num_differing, 1);
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("row 2 sample 0"), std::string::npos);
  ResultReader reader = ResultReader::open(output());
  EXPECT_EQ(reader.read_row(0).rank, 3);
  EXPECT_EQ(reader.read_row(1).text, full_row(2).text);
}

TEST_F(Results, OfATornJournalAreItsWholeRows) {
  write({0, 0, 0}, {full_row(0), full_row(1)});
  const std::string path = run_.path_of({0, 0, 0});
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);

  const MergeReport report = merge_results(run_, options_);

  EXPECT_EQ(report.num_rows, 1);
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find(path), std::string::npos);
}

TEST_F(Results, OfAnEmptyRunAreAFileWithoutRows) {
  write({0, 0, 0}, {});

  EXPECT_EQ(merge_results(run_, options_).num_rows, 0);

  EXPECT_EQ(ResultReader::open(output()).num_rows(), 0);
}

TEST_F(Results, AreMergedFromMoreJournalsThanAreOpenAtATime) {
  for (std::int64_t rank = 0; rank < 230; ++rank) write({0, rank, 0}, {full_row(230 - rank)});

  EXPECT_EQ(merge_results(run_, options_).num_rows, 230);

  ResultReader reader = ResultReader::open(output());
  EXPECT_TRUE(same_result(reader.read_row(0), full_row(1)));
  EXPECT_TRUE(same_result(reader.read_row(229), full_row(230)));
}

TEST_F(Results, DoNotReplaceAFileUnlessTold) {
  write({0, 0, 0}, {full_row(0)});
  std::ofstream(output()) << "precious";

  expect_error(ErrorKind::output, {output(), "--overwrite"},
               [&] { merge_results(run_, options_); });
  EXPECT_EQ(std::filesystem::file_size(output()), 8U);

  options_.overwrite = true;
  merge_results(run_, options_);
  EXPECT_EQ(ResultReader::open(output()).num_rows(), 1);
}

TEST_F(Results, ThatLackRowsOfTheRunAreNotWritten) {
  write({0, 0, 0}, {full_row(0), full_row(2)});
  write({0, 1, 0}, {full_row(0), full_row(1)});  // row 0 was computed twice
  options_.num_rows = 4;

  expect_error(ErrorKind::io, {run_.path(), "hold 3 rows", "finished 4", "results merge"},
               [&] { merge_results(run_, options_); });

  EXPECT_FALSE(std::filesystem::exists(output()));
  EXPECT_TRUE(std::filesystem::exists(run_.path_of({0, 1, 0})));
  options_.num_rows = 3;
  EXPECT_EQ(merge_results(run_, options_).num_rows, 3);
}

TEST_F(Results, OfAnotherRunAreRefused) {
  Manifest manifest;
  manifest.parts = {{"model", "hash"}};
  manifest.attributes["run_id"] = "one";
  run_.write_manifest(manifest);
  const std::uint32_t tag = manifest.run_tag();
  manifest.attributes["run_id"] = "two";
  ASSERT_NE(manifest.run_tag(), tag);
  write({0, 0, 0}, {full_row(0)}, tag);
  write({0, 1, 0}, {full_row(1)});  // as journals were before they said it
  EXPECT_EQ(merge_results(run_, options_).num_rows, 2);
  std::filesystem::remove(output());

  write({0, 2, 0}, {full_row(2)}, manifest.run_tag());

  expect_error(ErrorKind::input, {run_.path_of({0, 2, 0}), "by another run"},
               [&] { merge_results(run_, options_); });
  EXPECT_FALSE(std::filesystem::exists(output()));
  std::filesystem::remove(run_.path() +
                          "/manifest.json");  // then they are compared with each other
  expect_error(ErrorKind::input, {run_.path_of({0, 2, 0})}, [&] { merge_results(run_, options_); });
}

TEST_F(Results, SayWhereTheyCannotBeWritten) {
  write({0, 0, 0}, {full_row(0)});
  options_.output = "/no/such/place/r.h5";

  expect_error(ErrorKind::output, {"/no/such/place/r.h5.tmp"},
               [&] { merge_results(run_, options_); });
}

TEST_F(Results, OfAFullDiskAreAClearErrorAndNoFile) {
  std::vector<ResultRow> rows;
  for (std::int64_t i = 0; i < 3000; ++i) {
    ResultRow row = full_row(i);
    for (int k = 0; k < 300; ++k) row.text += static_cast<char>((i * 7919 + k * k * 31) >> (k % 5));
    rows.push_back(row);
  }
  write({0, 0, 0}, rows);
  for (const rlim_t limit : {rlim_t{1000}, rlim_t{100'000}, rlim_t{250'000}}) {
    const auto merge = [&] {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit sizes = {limit, limit};
      setrlimit(RLIMIT_FSIZE, &sizes);
      try {
        merge_results(run_, options_);
      } catch (const Error& error) {
        std::cerr << exit_code(error.kind()) << ' ' << error.what() << '\n';
        std::exit(std::filesystem::exists(output() + ".tmp") || std::filesystem::exists(output()));
      }
      std::exit(2);
    };

    EXPECT_EXIT(merge(), testing::ExitedWithCode(0), "74 .*r.h5.*needs up to [0-9]+ bytes");
  }
}

TEST_F(Results, ThatAreNoneAreRefused) {
  expect_error(ErrorKind::missing, {"none.h5"},
               [&] { ResultReader::open(directory_.file("none.h5")); });
  std::ofstream(directory_.file("text.h5")) << "hello";
  expect_error(ErrorKind::input, {"text.h5"},
               [&] { ResultReader::open(directory_.file("text.h5")); });
  Hdf5File::create(directory_.file("other.h5"), Hdf5File::Existing::refuse).close();
  expect_error(ErrorKind::input, {"other.h5", "trireme.results"},
               [&] { ResultReader::open(directory_.file("other.h5")); });
}

}  // namespace
}  // namespace trireme::io
