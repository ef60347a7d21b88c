#include "io/result_export.h"

#include <gtest/gtest.h>

#include <sstream>

#include "expect_error.h"
#include "io/result_writer.h"
#include "sample_rows.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

// Merges rows to a result file and exports it; one JSON value a line.
std::vector<Json> exported(const std::vector<ResultRow>& rows, const ExportOptions& options = {}) {
  const test::TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  JournalWriter journal = JournalWriter::create(run.path(), {0, 0, 0});
  for (const ResultRow& row : rows) journal.append(row);
  MergeOptions merge;
  merge.output = directory.file("r.h5");
  merge.attributes["model"] = "demo";
  merge_results(run, merge);
  ResultReader reader = ResultReader::open(merge.output);

  std::ostringstream out;
  const std::int64_t num_lines = export_jsonl(reader, options, out);

  std::vector<Json> lines;
  std::istringstream in(out.str());
  for (std::string line; std::getline(in, line);) lines.push_back(parse_json(line, "line"));
  EXPECT_EQ(lines.size(), static_cast<std::size_t>(num_lines));
  return lines;
}

TEST(ResultExport, NamesTheFileThatTakesNoMore) {
  const test::TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory.file("run"));
  JournalWriter::create(run.path(), {0, 0, 0}).append(test::full_row(0));
  MergeOptions merge;
  merge.output = directory.file("r.h5");
  merge_results(run, merge);
  ResultReader reader = ResultReader::open(merge.output);
  std::ostringstream full;
  full.setstate(std::ios::badbit);
  ExportOptions options;
  options.output_name = "out.jsonl";

  test::expect_error(ErrorKind::io, {"out.jsonl: cannot be written"},
                     [&] { export_jsonl(reader, options, full); });
}

TEST(ResultExport, HasTheShapeOfBatchResults) {
  ResultRow first = test::full_row(0, 0);
  ResultRow second = test::full_row(0, 1);
  second.finish_reason = FinishReason::stop;

  const std::vector<Json> lines = exported({first, second, test::error_row(1, "too long")});

  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["custom_id"], "row-0");
  EXPECT_EQ(lines[0]["error"], nullptr);
  EXPECT_EQ(lines[0]["response"]["status_code"], 200);
  const Json& body = lines[0]["response"]["body"];
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "demo");
  ASSERT_EQ(body["choices"].size(), 2U);
  EXPECT_EQ(body["choices"][0]["index"], 0);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["message"]["content"], std::string("t\0\xef\xbf\xbd"
                                                                  "0",
                                                                  6));
  EXPECT_EQ(body["choices"][0]["logprobs"]["content"][1]["logprob"], -1.25);
  EXPECT_EQ(body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["token"], "token_id:4");
  ASSERT_EQ(body["choices"][0]["prompt_logprobs"].size(), first.prompt_logprobs.size());
  EXPECT_EQ(body["choices"][0]["prompt_logprobs"][0], nullptr);
  EXPECT_EQ(body["choices"][0]["prompt_logprobs"][1], first.prompt_logprobs[1]);
  EXPECT_EQ(body["choices"][1]["finish_reason"], "stop");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_EQ(body["usage"]["total_tokens"], 7);
  EXPECT_EQ(lines[1]["custom_id"], "1");  // it has none: the number of the prompt
  EXPECT_EQ(lines[1]["response"], nullptr);
  EXPECT_EQ(lines[1]["error"]["code"], "error");
  EXPECT_EQ(lines[1]["error"]["message"], "too long");
}

TEST(ResultExport, GivesTextCompletionsWhenAsked) {
  const std::vector<Json> lines = exported({test::full_row(4)}, {.as_text_completions = true});

  ASSERT_EQ(lines.size(), 1U);
  const Json& choice = lines[0]["response"]["body"]["choices"][0];
  EXPECT_EQ(choice["text"], std::string("t\0\xef\xbf\xbd"
                                        "4",
                                        6));
  EXPECT_FALSE(choice.contains("message"));
  EXPECT_EQ(choice["logprobs"]["tokens"][0], "token_id:11");
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][1]["token_id:9"], -3.0);
}

TEST(ResultExport, KeepsIntegerIds) {
  ResultRow row = test::full_row(0);
  row.custom_id = std::int64_t{-5};

  EXPECT_EQ(exported({row})[0]["custom_id"], -5);
}

}  // namespace
}  // namespace trireme::io
