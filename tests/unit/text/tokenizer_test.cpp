#include "text/tokenizer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"

namespace trireme::text {
namespace {

const std::string kData = std::string(TRIREME_TEST_DATA) + "/tokenizers/";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

struct Case {
  std::string text;
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> ids_without_special;
  std::string decoded;
  std::string decoded_with_special;
};

std::vector<Case> read_cases(const std::string& name) {
  const std::string path = kData + name + "/cases.json";
  std::vector<Case> cases;
  const Json document = parse_json(read_file(path), path);
  for (const Json& item : document.at("cases")) {
    cases.push_back({item.at("text"), item.at("ids"), item.at("ids_without_special"),
                     item.at("decoded"), item.at("decoded_with_special")});
  }
  return cases;
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  TextStream stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

/// A small tokenizer.json with parts replaced.
Json small_document() {
  return parse_json(R"({
    "added_tokens": [],
    "model": {"type": "BPE",
              "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3, "abc": 4, "▁": 5, "▁a": 6, "é": 7},
              "merges": ["a b", ["ab", "c"], ["▁", "a"]]}})",
                    "small");
}

Tokenizer parse(const Json& document) { return Tokenizer::parse(document.dump(), "small"); }

using Ids = std::vector<std::int32_t>;

class PublishedTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(PublishedTokenizer, EncodesEveryCase) {
  const Tokenizer tokenizer = Tokenizer::load(kData + GetParam());

  for (const Case& item : read_cases(GetParam())) {
    EXPECT_EQ(tokenizer.encode(item.text, true), item.ids) << item.text;
    EXPECT_EQ(tokenizer.encode(item.text, false), item.ids_without_special) << item.text;
  }
}

TEST_P(PublishedTokenizer, DecodesEveryCase) {
  const Tokenizer tokenizer = Tokenizer::load(kData + GetParam());

  for (const Case& item : read_cases(GetParam())) {
    EXPECT_EQ(tokenizer.decode(item.ids, true), item.decoded);
    EXPECT_EQ(tokenizer.decode(item.ids, false), item.decoded_with_special);
    EXPECT_EQ(streamed(tokenizer, item.ids), item.decoded);
  }
}

TEST_P(PublishedTokenizer, StreamsAnyTokensAsItDecodesThem) {
  const Tokenizer tokenizer = Tokenizer::load(kData + GetParam());
  std::uint32_t state = 7;
  for (int round = 0; round < 200; ++round) {
    Ids ids;
    for (int idx = 0; idx < 30; ++idx) {
      state = state * 1'664'525U + 1'013'904'223U;
      ids.push_back(static_cast<std::int32_t>((state >> 8) % (round % 2 == 0 ? 300 : 3500)));
    }

    EXPECT_EQ(streamed(tokenizer, ids), tokenizer.decode(ids, true));
  }
}

TEST_P(PublishedTokenizer, IsSharedByThreads) {
  const Tokenizer tokenizer = Tokenizer::load(kData + GetParam());
  const std::vector<Case> cases = read_cases(GetParam());
  std::vector<int> num_wrong(4, 0);

  std::vector<std::thread> threads;
  for (int& wrong : num_wrong) {
    threads.emplace_back([&] {
      for (const Case& item : cases) {
        if (tokenizer.encode(item.text, true) != item.ids) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(num_wrong, std::vector<int>(4, 0));
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTokenizer,
                         testing::Values("deepseek_v3", "gpt2_digits", "llama2_bytefallback",
                                         "llama3", "metaspace", "o200k", "qwen2"),
                         [](const auto& suite) { return suite.param; });

TEST(Tokenizer, TellsIdsAndSize) {
  const Tokenizer tokenizer = Tokenizer::load(kData + "qwen2");

  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), 3002);
  EXPECT_EQ(tokenizer.id_of("!"), 0);
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.num_tokens(), 3005);
}

TEST(Tokenizer, NamesTheFileThatIsMissing) {
  try {
    Tokenizer::load("/no/such/folder");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::missing);
    EXPECT_NE(std::string(error.what()).find("/no/such/folder/tokenizer.json"), std::string::npos);
  }
}

TEST(Tokenizer, IsReadFromNoPipe) {
  const std::string folder = testing::TempDir() + "/pipe_" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  ASSERT_EQ(::mkfifo((folder + "/tokenizer.json").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo((folder + "/chat_template.jinja").c_str(), 0600), 0);

  EXPECT_THROW(Tokenizer::load(folder), Error);
  EXPECT_THROW(ChatTemplate::load(folder), Error);

  std::filesystem::remove_all(folder);
}

TEST(Tokenizer, SaysWhereATextIsNoUtf8) {
  const Tokenizer tokenizer = parse(small_document());

  try {
    tokenizer.encode("ab\xC3(", true);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string(error.what()).find("byte 2"), std::string::npos);
  }
}

TEST(Tokenizer, TakesMergesInBothSpellings) {
  EXPECT_EQ(parse(small_document()).encode("abcab", true), (Ids{4, 2}));
}

TEST(Tokenizer, LeavesOutUnknownCharactersWithoutAnUnknownToken) {
  EXPECT_EQ(parse(small_document()).encode("axb", true), (Ids{2}));
}

TEST(Tokenizer, FusesUnknownCharactersIfAsked) {
  Json document = small_document();
  document["model"]["unk_token"] = "c";

  EXPECT_EQ(parse(document).encode("axyb", true), (Ids{0, 3, 3, 1}));
  document["model"]["fuse_unk"] = true;
  EXPECT_EQ(parse(document).encode("axyb", true), (Ids{0, 3, 1}));
}

TEST(Tokenizer, IgnoresMergesOfWholeTokensIfAsked) {
  Json document = small_document();
  document["model"]["merges"] = Json::array();
  const std::string text = "abc";

  EXPECT_EQ(parse(document).encode(text, true), (Ids{0, 1, 3}));
  document["model"]["ignore_merges"] = true;
  EXPECT_EQ(parse(document).encode(text, true), (Ids{4}));
}

TEST(Tokenizer, NormalizesBeforeItLooksForTokens) {
  Json document = small_document();
  document["normalizer"] = {{"type", "NFC"}};

  EXPECT_EQ(parse(document).encode("e\u0301", true), (Ids{7}));
}

TEST(Tokenizer, PutsTheTemplateAroundTheText) {
  Json document = small_document();
  document["post_processor"] = parse_json(
      R"({"type": "TemplateProcessing",
          "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}},
                     {"SpecialToken": {"id": "</s>"}}],
          "special_tokens": {"<s>": {"ids": [1]}, "</s>": {"ids": [3, 0]}}})",
      "template");
  const Tokenizer tokenizer = parse(document);

  EXPECT_EQ(tokenizer.encode("ab", true), (Ids{1, 2, 3, 0}));
  EXPECT_EQ(tokenizer.encode("ab", false), (Ids{2}));
  EXPECT_EQ(tokenizer.encode("", true), (Ids{1, 3, 0}));
}

TEST(Tokenizer, PutsTheMarkOnlyBeforeTheBeginOfTheInput) {
  Json document = small_document();
  document["added_tokens"] = {{{"id", 8}, {"content", "<x>"}, {"special", true}}};
  document["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}};

  EXPECT_EQ(parse(document).encode("a<x>a a", true), (Ids{6, 8, 0, 6}));
  document["pre_tokenizer"]["prepend_scheme"] = "always";
  EXPECT_EQ(parse(document).encode("a<x>a a", true), (Ids{6, 8, 6, 6}));
  document["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_EQ(parse(document).encode("a<x>a a", true), (Ids{0, 8, 0, 6}));
}

TEST(TextStream, NeverEndsInsideACharacter) {
  const Tokenizer tokenizer = Tokenizer::load(kData + "llama2_bytefallback");
  const auto byte = [&](const char* name) { return tokenizer.id_of(name).value(); };
  TextStream stream(tokenizer);

  EXPECT_EQ(stream.push(byte("<0xE4>")), "");
  EXPECT_EQ(stream.push(byte("<0xBD>")), "");
  EXPECT_EQ(stream.push(byte("<0xA0>")), "\u4F60");
  EXPECT_EQ(stream.push(byte("<0xE4>")), "");
  EXPECT_EQ(stream.push(byte("<0x41>")), "\xE4\x41");
  EXPECT_EQ(stream.push(byte("<0xF0>")), "");
  EXPECT_EQ(stream.finish(), "\xF0");
}

TEST(TextStream, GivesNothingForUnknownIds) {
  const Tokenizer tokenizer = parse(small_document());
  TextStream stream(tokenizer);

  EXPECT_EQ(stream.push(-1) + stream.push(100) + stream.push(2) + stream.finish(), "ab");
}

}  // namespace
}  // namespace trireme::text
