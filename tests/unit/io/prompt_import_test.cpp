#include "io/prompt_import.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "expect_error.h"
#include "io/hdf5_file.h"
#include "io/prompt_reader.h"
#include "io/prompt_writer.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::expect_error;

class Import : public testing::Test {
 protected:
  // Imports JSON lines, opens what came out.
  PromptReader jsonl_file(const std::string& content) {
    const std::string output = directory_.file("out" + std::to_string(num_files_++) + ".h5");
    import_jsonl(directory_.write("in.jsonl", content), output);
    return PromptReader::open(output);
  }

  test::TemporaryDirectory directory_;
  int num_files_ = 0;
};

TEST_F(Import, TakesOnePromptALine) {
  import_text(directory_.write("in.txt", "first\r\n\nGrüße\tx\nlast"), directory_.file("p.h5"));
  PromptReader reader = PromptReader::open(directory_.file("p.h5"));

  ASSERT_EQ(reader.num_rows(), 4);
  EXPECT_EQ(reader.read_row(0).text, "first");
  EXPECT_EQ(reader.read_row(1).text, "");
  EXPECT_EQ(reader.read_row(2).text, "Grüße\tx");
  EXPECT_EQ(reader.read_row(3).text, "last");
  EXPECT_TRUE(reader.warnings().empty());
}

TEST_F(Import, KeepsBadLinesAsBadRows) {
  import_text(directory_.write("in.txt", "good\nbad \xff\n"), directory_.file("p.h5"));
  PromptReader reader = PromptReader::open(directory_.file("p.h5"));

  EXPECT_EQ(reader.read_row(0).error, "");
  EXPECT_EQ(reader.read_row(1).error, "/prompt: bad UTF-8 at byte 4");
}

TEST_F(Import, MakesRequestsOfBatchLines) {
  const std::string path = directory_.file("p.h5");
  const ImportReport report = import_jsonl(
      directory_.write("in.jsonl",
                       R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions",)"
                       R"("body":{"model":"m","messages":[{"role":"user","content":"hi"}],)"
                       R"("max_tokens":5}})"
                       "\n\n"
                       R"({"custom_id":"b","body":{"prompt":"ho","stream":true}})"
                       "\n"),
      path);
  PromptReader reader = PromptReader::open(path);

  EXPECT_EQ(reader.source(), PromptSource::requests);
  ASSERT_EQ(reader.num_rows(), 2);
  EXPECT_EQ(reader.read_row(0).custom_id, CustomId("a"));
  EXPECT_EQ(reader.read_row(0).options.max_tokens, 5);
  EXPECT_EQ(reader.read_row(0).messages[0]["content"], "hi");
  EXPECT_EQ(reader.read_row(1).error, "");
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("stream"), std::string::npos);
}

TEST_F(Import, WarnsOfStreamingInPlainLinesAlike) {
  const ImportReport report = import_jsonl(directory_.write("in.jsonl",
                                                            "{\"prompt\":\"a\",\"stream\":true}\n"
                                                            "{\"prompt\":\"b\",\"stream\":true}\n"),
                                           directory_.file("p.h5"));

  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("whole"), std::string::npos);
}

TEST_F(Import, MakesColumnsOfPlainLinesWithTheSameKeys) {
  const std::string path = directory_.file("p.h5");
  const ImportReport report = import_jsonl(
      directory_.write(
          "in.jsonl",
          R"({"custom_id":7,"prompt":"a\u0000b","max_tokens":5,"temperature":1,"stop":"x",)"
          R"("seed":18446744073709551615,"ignore_eos":true,"logprobs":false,"answer":42})"
          "\n"
          R"({"custom_id":8,"prompt":"c","max_tokens":6,"temperature":0.5,"stop":["y"],)"
          R"("seed":1,"ignore_eos":false,"logprobs":3,"domain":"law"})"
          "\n"),
      path);
  PromptReader reader = PromptReader::open(path);

  EXPECT_EQ(reader.source(), PromptSource::bytes);
  EXPECT_EQ(reader.columns(),
            (std::vector<std::string>{"custom_id", "domain", "ignore_eos", "logprobs", "max_tokens",
                                      "seed", "stop", "temperature"}));
  const PromptRow first = reader.read_row(0);
  const PromptRow second = reader.read_row(1);
  EXPECT_EQ(first.error, "");
  EXPECT_EQ(first.text, std::string("a\0b", 3));
  EXPECT_EQ(first.custom_id, CustomId(std::int64_t{7}));
  EXPECT_EQ(first.options.temperature, 1);
  EXPECT_EQ(first.options.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(first.options.seed, 18446744073709551615ULL);
  EXPECT_EQ(first.options.ignore_eos, true);
  EXPECT_EQ(first.options.logprobs, -1);
  EXPECT_EQ(first.domain, "");
  EXPECT_EQ(second.options.temperature, 0.5);
  EXPECT_EQ(second.options.logprobs, 3);
  EXPECT_EQ(second.domain, "law");
  ASSERT_EQ(report.warnings.size(), 1U);
  EXPECT_NE(report.warnings[0].find("\"answer\""), std::string::npos);
}

TEST_F(Import, MakesMessagesOfPlainChats) {
  const std::string path = directory_.file("p.h5");
  import_jsonl(directory_.write("in.jsonl", R"({"messages":[{"role":"user","content":"a"}],"n":2})"
                                            "\n"
                                            R"({"n":3,"messages":[{"role":"user","content":"b"}]})"
                                            "\n"),
               path);
  PromptReader reader = PromptReader::open(path);

  EXPECT_EQ(reader.source(), PromptSource::messages);
  EXPECT_EQ(reader.read_row(1).messages[0]["content"], "b");
  EXPECT_EQ(reader.read_row(1).options.n, 3);
}

TEST_F(Import, MakesRequestsOfPlainLinesThatDiffer) {
  const std::vector<std::string> contents = {
      "{\"prompt\":\"a\",\"n\":2}\n{\"prompt\":\"b\"}\n",                       // other keys
      "{\"prompt\":\"a\",\"n\":2}\n{\"prompt\":\"b\",\"n\":\"x\"}\n",           // a bad value
      "{\"prompt\":\"a\"}\n{\"messages\":[{\"role\":\"user\"}]}\n",             // other prompts
      "{\"prompt\":[1,2]}\n{\"prompt\":\"b\"}\n",                               // token ids
      "{\"prompt\":\"a\",\"max_completion_tokens\":2}\n{\"prompt\":\"b\"}\n"};  // another name
  for (const std::string& content : contents) {
    SCOPED_TRACE(content);
    PromptReader reader = jsonl_file(content);
    EXPECT_EQ(reader.source(), PromptSource::requests);
    EXPECT_EQ(reader.num_rows(), 2);
    EXPECT_EQ(reader.read_row(0).error, "");
  }
}

TEST_F(Import, NamesFileAndLineOfWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"prompt\":\"a\"}\nnot json\n", ":2"},
      {"{\"prompt\":\"a\"}\n\n[1]\n", ":3"},
      {"{\"custom_id\":\"a\",\"prompt\":\"a\"}\n{\"prompt\":\"a\"}\n", ":2: has no custom_id"},
      {"{\"prompt\":\"a\"}\n{\"custom_id\":\"a\",\"prompt\":\"a\"}\n", ":2: has a custom_id"},
      {"{\"custom_id\":\"a\",\"prompt\":\"x\"}\n{\"custom_id\":\"a\",\"prompt\":\"y\"}\n",
       ":2: custom_id \"a\" is that of line 1"},
      {"{\"custom_id\":1.5,\"prompt\":\"a\"}\n", ":1: custom_id"},
      {"{\"url\":\"/v1/embeddings\",\"body\":{}}\n", ":1: url"},
      {"{\"prompt\":\"bad \xff\"}\n", ":1"},
      {"\n\n", "no prompt"},
      {"", "no prompt"}};
  for (const auto& [content, part] : cases) {
    SCOPED_TRACE(content);
    const std::string input = directory_.write("in.jsonl", content);
    expect_error(ErrorKind::input, {input, part},
                 [&] { import_jsonl(input, directory_.file("p.h5")); });
    EXPECT_FALSE(std::filesystem::exists(directory_.file("p.h5")));
    EXPECT_FALSE(std::filesystem::exists(directory_.file("p.h5.tmp")));
  }
  expect_error(ErrorKind::missing, {"/no/such.txt"},
               [&] { import_text("/no/such.txt", directory_.file("p.h5")); });
  const std::string empty = directory_.write("empty.txt", "");
  expect_error(ErrorKind::input, {empty}, [&] { import_text(empty, directory_.file("p.h5")); });
}

TEST_F(Import, ReadsTextOfAPipeOnceButJsonLinesTwice) {
  const std::string pipe = directory_.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);

  expect_error(ErrorKind::input, {pipe, "not a regular file"},
               [&] { import_jsonl(pipe, directory_.file("p.h5")); });

  std::thread writer([&] { std::ofstream(pipe) << "one\ntwo\n"; });
  EXPECT_EQ(import_text(pipe, directory_.file("p.h5")).num_rows, 2);
  writer.join();
}

TEST_F(Import, CountsANumberAsItsTextBesideTexts) {
  const std::string input = directory_.write("in.jsonl",
                                             "{\"custom_id\":1,\"prompt\":\"a\"}\n"
                                             "{\"custom_id\":\"1\",\"prompt\":\"b\"}\n");

  expect_error(ErrorKind::input, {"in.jsonl:2: custom_id \"1\" is that of line 1 too"},
               [&] { import_jsonl(input, directory_.file("p.h5")); });

  EXPECT_FALSE(std::filesystem::exists(directory_.file("p.h5")));
}

TEST_F(Import, TakesEmptyIdsAsNone) {
  PromptReader reader = jsonl_file(
      "{\"custom_id\":\"\",\"prompt\":\"a\"}\n{\"custom_id\":\"\",\"prompt\":\"b\"}\n"
      "{\"custom_id\":\"x\",\"prompt\":\"c\"}\n");

  EXPECT_EQ(reader.num_rows(), 3);
  EXPECT_EQ(std::get<std::string>(reader.read_row(2).custom_id), "x");
}

TEST_F(Import, NeverReplacesAFile) {
  const std::string input = directory_.write("in.txt", "a\n");
  const std::string taken = directory_.write("p.h5", "precious");

  expect_error(ErrorKind::output, {taken}, [&] { import_text(input, taken); });

  EXPECT_EQ(std::filesystem::file_size(taken), 8U);
}

TEST(PromptWriter, FillsColumnsThatBeginLate) {
  const test::TemporaryDirectory directory;
  PromptWriter writer = PromptWriter::create(directory.file("p.h5"), PromptSource::token_ids);
  const std::vector<std::int32_t> ids = {1, 2};
  writer.add_token_ids(ids);
  writer.set_column("status", 1, 0);
  writer.set_column("error", "words", "");
  writer.add_token_ids({});
  writer.add_token_ids(ids);
  writer.finish();

  PromptReader reader = PromptReader::open(directory.file("p.h5"));
  EXPECT_EQ(reader.read_row(0).token_ids, ids);
  EXPECT_EQ(reader.read_row(1).error, "words");
  EXPECT_EQ(reader.read_row(2).error, "");
  EXPECT_EQ(Hdf5File::open(directory.file("p.h5")).dataset("/status").info().type_name, "uint8");
}

TEST(PromptWriter, LeavesNothingThatAReaderRefuses) {
  const test::TemporaryDirectory directory;
  PromptWriter writer = PromptWriter::create(directory.file("p.h5"), PromptSource::bytes);
  for (int i = 0; i < 2; ++i) {
    writer.set_column("custom_id", "same");
    writer.add("a");
  }

  expect_error(ErrorKind::input, {directory.file("p.h5") + ": /custom_id", "must be unique"},
               [&] { writer.finish(); });

  EXPECT_FALSE(std::filesystem::exists(directory.file("p.h5")));
}

TEST(PromptWriter, LeavesNothingWithoutFinish) {
  const test::TemporaryDirectory directory;
  {
    PromptWriter writer = PromptWriter::create(directory.file("p.h5"), PromptSource::bytes);
    writer.add("a");
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace trireme::io
