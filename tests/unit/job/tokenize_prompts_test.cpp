#include "job/tokenize_prompts.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "io/hdf5_file.h"
#include "io/prompt_reader.h"
#include "io/prompt_writer.h"
#include "support/temporary_directory.h"
#include "text/tokenizer.h"

namespace trireme::job {
namespace {

using io::Hdf5File;
using io::PromptReader;
using io::PromptSource;
using io::PromptWriter;

class TokenizePrompts : public testing::Test {
 protected:
  TokenizePrompts() {
    std::filesystem::copy(TRIREME_TEST_DATA "/demo/tokenizer.json",
                          directory_.file("tokenizer.json"));
    directory_.write("chat_template.jinja", "{% for m in messages %}{{ m.content }}|{% endfor %}");
  }

  PromptWriter input(PromptSource source) { return PromptWriter::create(in(), source); }
  TokenizeReport run() {
    return tokenize_prompts(in(), out(), directory_.path(), [](std::int64_t) {});
  }
  std::string in() const { return directory_.file("in.h5"); }
  std::string out() const { return directory_.file("out.h5"); }
  std::vector<std::int32_t> ids_of(const std::string& text, bool special) const {
    return text::Tokenizer::load(directory_.path()).encode(text, special);
  }

  test::TemporaryDirectory directory_;
};

TEST_F(TokenizePrompts, KeepsColumnsAndAttributes) {
  {
    Hdf5File file = Hdf5File::create(in(), Hdf5File::Existing::refuse);
    file.write_strings("/prompt", std::vector<std::string>{"one two", "three"});
    file.write("/max_tokens", std::vector<std::int16_t>{5, 6});
    file.write_strings("/custom_id", std::vector<std::string>{"a", "b"});
    file.write_attribute("/", "temperature", 0.5);
    file.write_attribute("/", "author", "me");
    file.close();
  }

  const TokenizeReport report = run();

  EXPECT_EQ(report.num_rows, 2);
  EXPECT_EQ(report.num_failed, 0);
  PromptReader reader = PromptReader::open(out());
  EXPECT_EQ(reader.source(), PromptSource::token_ids);
  EXPECT_TRUE(reader.warnings().empty());
  const io::PromptRow row = reader.read_row(0);
  EXPECT_EQ(row.token_ids, ids_of("one two", true));
  EXPECT_EQ(row.custom_id, io::CustomId("a"));
  EXPECT_EQ(row.options.max_tokens, 5);
  EXPECT_EQ(row.options.temperature, 0.5);
  EXPECT_EQ(reader.columns(), (std::vector<std::string>{"custom_id", "max_tokens"}));
  const Hdf5File file = Hdf5File::open(out());
  EXPECT_EQ(file.dataset("/max_tokens").info().type_name, "int16");
  EXPECT_EQ(file.attribute("/", "author"), "me");
}

TEST_F(TokenizePrompts, MarksRowsThatFail) {
  PromptWriter writer = input(PromptSource::bytes);
  writer.add("good");
  writer.add("bad \xff");
  writer.finish();

  const TokenizeReport report = run();

  EXPECT_EQ(report.num_failed, 1);
  EXPECT_EQ(report.first_error, "row 1: /prompt: bad UTF-8 at byte 4");
  PromptReader reader = PromptReader::open(out());
  EXPECT_EQ(reader.read_row(0).error, "");
  EXPECT_EQ(reader.read_row(1).error, "/prompt: bad UTF-8 at byte 4");
  EXPECT_EQ(reader.lengths(0, 2)[1], 0);
  EXPECT_EQ(Hdf5File::open(out()).dataset("/status").read<std::uint8_t>(0, 2),
            (std::vector<std::uint8_t>{0, 1}));
}

TEST_F(TokenizePrompts, RendersMessages) {
  PromptWriter writer = input(PromptSource::messages);
  writer.add(R"([{"role":"user","content":"one"},{"role":"user","content":"two"}])");
  writer.finish();

  run();

  EXPECT_EQ(PromptReader::open(out()).read_row(0).token_ids, ids_of("one|two|", false));
}

TEST_F(TokenizePrompts, KeepsWhatRequestsAskFor) {
  PromptWriter writer = input(PromptSource::requests);
  writer.set_column("max_tokens", 9);
  writer.add(R"({"prompt":"one","max_tokens":3,"stop":["x"],"logit_bias":{"5":-1.5},"seed":7})");
  writer.set_column("max_tokens", 9);
  writer.add(R"({"prompt":"two"})");
  writer.set_column("max_tokens", 9);
  writer.add(R"({"prompt":"three","echo":true})");
  writer.finish();

  EXPECT_EQ(run().num_failed, 1);

  PromptReader reader = PromptReader::open(out());
  const io::RowOptions options = reader.read_row(0).options;
  EXPECT_EQ(options.max_tokens, 3);
  EXPECT_EQ(options.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(options.logit_bias->at(0), (std::pair<std::int32_t, float>{5, -1.5F}));
  EXPECT_EQ(options.seed, 7U);
  EXPECT_EQ(reader.read_row(1).options.max_tokens, 9);
  EXPECT_EQ(reader.read_row(1).options.stop, std::nullopt);
  EXPECT_NE(reader.read_row(2).error.find("echo"), std::string::npos);
}

TEST_F(TokenizePrompts, RefusesTokenIds) {
  PromptWriter writer = input(PromptSource::token_ids);
  writer.add_token_ids(std::vector<std::int32_t>{1});
  writer.finish();

  EXPECT_THROW(run(), Error);
  EXPECT_FALSE(std::filesystem::exists(out()));
}

}  // namespace
}  // namespace trireme::job
