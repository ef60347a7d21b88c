#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "apps/commands.h"
#include "base/error.h"
#include "io/prompt_reader.h"
#include "io/result_reader.h"
#include "io/run_directory.h"
#include "support/temporary_directory.h"

namespace trireme::apps {
namespace {

struct Outcome {
  int code = 0;
  std::string out, err;
};

// What a command prints; an Error becomes its code and message, as in main.
Outcome outcome_of(int (*command)(const std::vector<std::string>&),
                   const std::vector<std::string>& arguments) {
  Outcome outcome;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  std::string message;
  try {
    outcome.code = command(arguments);
  } catch (const Error& error) {
    outcome.code = exit_code(error.kind());
    message = error.what();
  }
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr() + message;
  return outcome;
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Commands : public testing::Test {
 protected:
  Outcome prompts(const std::vector<std::string>& arguments) {
    return outcome_of(prompts_command, arguments);
  }
  Outcome results(const std::vector<std::string>& arguments) {
    return outcome_of(results_command, arguments);
  }
  std::string file(const std::string& name) const { return directory_.file(name); }

  // A run directory as a killed run leaves it: two rows, and half of a third.
  std::string killed_run() const {
    const io::RunDirectory run = io::RunDirectory::create(file("r.h5.run"));
    io::Manifest manifest;
    manifest.parts = {{"model", "hash"}};
    manifest.attributes["model"] = "demo";
    run.write_manifest(manifest);
    io::JournalWriter journal = io::JournalWriter::create(run.path(), {0, 0, 0});
    for (std::int64_t i : {2, 0}) {
      io::ResultRow row;
      row.index = i;
      row.text = "answer\x1b[31m " + std::to_string(i);
      row.output_ids = {7, 8};
      row.custom_id = "id" + std::to_string(i);
      journal.append(row);
    }
    std::ofstream(journal.path(), std::ios::app | std::ios::binary) << "TJWL half a row";
    return run.path();
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Commands, ExplainThemselves) {
  for (const char* name : {"import", "tokenize", "show"}) {
    const Outcome help = prompts({name, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_TRUE(holds(help.out, "trireme prompts")) << help.out;
    EXPECT_TRUE(holds(prompts({"--help"}).out, std::string("trireme prompts ") + name));
  }
  for (const char* name : {"show", "export", "merge"}) {
    EXPECT_TRUE(holds(results({name, "--help"}).out, "trireme results"));
    EXPECT_TRUE(holds(results({"--help"}).out, std::string("trireme results ") + name));
  }
  EXPECT_EQ(prompts({}).code, 64);
  EXPECT_TRUE(prompts({}).out.empty());
}

TEST_F(Commands, NameTheNearestOfWhatIsUnknown) {
  EXPECT_EQ(prompts({"imprt"}).code, 64);
  EXPECT_TRUE(holds(prompts({"imprt"}).err, "did you mean 'import'?"));
  EXPECT_TRUE(holds(results({"show", "r.h5", "--rwo", "1"}).err, "--row"));
  EXPECT_EQ(prompts({"import", "only-one"}).code, 64);
}

TEST_F(Commands, ImportAndShowPrompts) {
  const std::string text = directory_.write("in.txt", "Why is the sky blue?\nbad \xff\n");

  const Outcome import = prompts({"import", text, file("p.h5")});

  EXPECT_EQ(import.code, 0) << import.err;
  EXPECT_TRUE(holds(import.out, "2 prompts in /prompt"));
  EXPECT_TRUE(holds(import.err, "1 of 2 rows are bad"));
  const Outcome all = prompts({"show", file("p.h5")});
  EXPECT_TRUE(holds(all.out, "2 prompts, texts (/prompt)")) << all.out;
  EXPECT_TRUE(holds(all.out, "0 Why is the sky blue?\n"));
  EXPECT_TRUE(holds(all.out, "1 error: /prompt: bad UTF-8"));
  EXPECT_TRUE(
      holds(prompts({"show", file("p.h5"), "--row", "0"}).out, "prompt:\nWhy is the sky blue?\n"));
  EXPECT_EQ(prompts({"show", file("p.h5"), "--row", "2"}).code, 64);
  EXPECT_EQ(prompts({"show", file("none.h5")}).code, 66);
}

TEST_F(Commands, WarnOfEmptyPrompts) {
  const std::string text = directory_.write("in.jsonl", "{\"prompt\":\"\"}\n{\"prompt\":\"a\"}\n");

  EXPECT_TRUE(holds(prompts({"import", text, file("p.h5")}).err, "1 of 2 prompts are empty"));
  EXPECT_TRUE(holds(prompts({"show", file("p.h5"), "--check"}).err, "1 of 2 prompts are empty"));
}

TEST_F(Commands, ImportJsonLinesByNameOrFlag) {
  const std::string content = "{\"prompt\":\"a\",\"max_tokens\":3}\n";

  prompts({"import", directory_.write("in.jsonl", content), file("a.h5")});
  prompts({"import", directory_.write("in.data", content), file("b.h5"), "--format", "jsonl"});

  EXPECT_EQ(io::PromptReader::open(file("a.h5")).read_row(0).options.max_tokens, 3);
  EXPECT_EQ(io::PromptReader::open(file("b.h5")).read_row(0).options.max_tokens, 3);
  EXPECT_EQ(prompts({"import", file("in.data"), file("c.h5"), "--format", "xml"}).code, 64);
}

TEST_F(Commands, TokenizePrompts) {
  prompts({"import", directory_.write("in.txt", "one two three\n"), file("p.h5")});

  const Outcome tokenized =
      prompts({"tokenize", "--tokenizer", TRIREME_TEST_DATA "/demo", file("p.h5"), file("ids.h5")});

  EXPECT_EQ(tokenized.code, 0) << tokenized.err;
  EXPECT_TRUE(holds(tokenized.out, "1 prompts, "));
  EXPECT_EQ(io::PromptReader::open(file("ids.h5")).source(), io::PromptSource::token_ids);
  EXPECT_EQ(prompts({"tokenize", file("p.h5"), file("x.h5")}).code, 64);
  EXPECT_EQ(prompts({"tokenize", "--tokenizer", "/no/such", file("p.h5"), file("x.h5")}).code, 66);
}

TEST_F(Commands, MergeWhatAKilledRunHasFinished) {
  const std::string run = killed_run();

  const Outcome merged = results({"merge", run, file("r.h5")});

  EXPECT_EQ(merged.code, 0) << merged.err;
  EXPECT_TRUE(holds(merged.out, "2 rows, 2 ok")) << merged.out;
  EXPECT_TRUE(holds(merged.err, "15 bytes are no whole row"));
  io::ResultReader reader = io::ResultReader::open(file("r.h5"));
  EXPECT_EQ(reader.read_row(0).index, 0);
  EXPECT_EQ(reader.attributes()["model"], "demo");
  EXPECT_EQ(reader.attributes()["complete"], 0);
  EXPECT_EQ(reader.attributes()["fingerprint"],
            io::RunDirectory::open(run).read_manifest()->fingerprint());
  EXPECT_TRUE(std::filesystem::exists(run));

  EXPECT_EQ(results({"merge", run, file("r.h5")}).code, 73);
  EXPECT_EQ(results({"merge", run, file("r.h5"), "--overwrite"}).code, 0);
  EXPECT_EQ(results({"merge", file("none"), file("x.h5")}).code, 66);
  EXPECT_EQ(results({"merge", directory_.path(), file("x.h5")}).code, 65);
}

TEST_F(Commands, ReplaceNothingButFiles) {
  const std::string run = killed_run();
  results({"merge", run, file("r.h5")});
  ASSERT_EQ(::mkfifo(file("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink(file("pipe"), file("link"));
  const std::string text = directory_.write("in.txt", "one\n");
  prompts({"import", text, file("p.h5")});

  for (const std::string& name : {file("pipe"), file("link")}) {
    for (const Outcome& outcome :
         {results({"merge", run, name, "--overwrite"}), results({"merge", run, name}),
          results({"export", file("r.h5"), "--jsonl", name, "--overwrite"}),
          prompts({"import", text, name}),
          prompts({"tokenize", "--tokenizer", TRIREME_TEST_DATA "/demo", file("p.h5"), name})}) {
      EXPECT_EQ(outcome.code, 73) << outcome.err;
      EXPECT_TRUE(holds(outcome.err, name + ": is not a regular file")) << outcome.err;
    }
  }
  EXPECT_TRUE(std::filesystem::is_fifo(file("pipe")));
  EXPECT_TRUE(std::filesystem::is_symlink(file("link")));

  // Nor is what they write through on the way waited for.
  std::filesystem::rename(file("pipe"), file("other.tmp"));
  EXPECT_EQ(results({"export", file("r.h5"), "--jsonl", file("other")}).code, 73);
  EXPECT_EQ(results({"merge", run, file("other")}).code, 73);
}

TEST_F(Commands, DoNotReplaceTheResultsByTheirExport) {
  results({"merge", killed_run(), file("r.h5")});
  std::filesystem::create_hard_link(file("r.h5"), file("same.h5"));

  const Outcome outcome =
      results({"export", file("r.h5"), "--jsonl", file("same.h5"), "--overwrite"});

  EXPECT_EQ(outcome.code, 73);
  EXPECT_TRUE(holds(outcome.err, "is the result file itself")) << outcome.err;
  EXPECT_EQ(io::ResultReader::open(file("r.h5")).num_rows(), 2);
}

TEST_F(Commands, ShowResultsWithoutTerminalCodes) {
  results({"merge", killed_run(), file("r.h5")});

  const Outcome all = results({"show", file("r.h5")});
  const Outcome row = results({"show", file("r.h5"), "--row", "1"});

  EXPECT_TRUE(holds(all.out, "2 rows"));
  EXPECT_TRUE(holds(all.out, "complete: 0"));
  EXPECT_TRUE(holds(all.out, "2.0 [id2] stop 0+0 answer?[31m 2"));
  EXPECT_FALSE(holds(all.out, "\x1b"));
  EXPECT_TRUE(holds(row.out, "output_ids: 7 8"));
  EXPECT_FALSE(holds(row.out, "\x1b"));
}

TEST_F(Commands, ExportResults) {
  results({"merge", killed_run(), file("r.h5")});

  const Outcome to_stdout = results({"export", file("r.h5"), "--jsonl", "-"});
  const Outcome to_file = results({"export", file("r.h5"), "--jsonl", file("r.jsonl")});

  EXPECT_EQ(std::count(to_stdout.out.begin(), to_stdout.out.end(), '\n'), 2);
  EXPECT_TRUE(holds(to_stdout.out, "\"custom_id\":\"id2\""));
  EXPECT_EQ(to_file.code, 0);
  std::ifstream in(file("r.jsonl"));
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), to_stdout.out);
  EXPECT_EQ(results({"export", file("r.h5"), "--jsonl", file("r.jsonl")}).code, 73);
  EXPECT_EQ(results({"export", file("r.h5")}).code, 64);
}

}  // namespace
}  // namespace trireme::apps
