#include "text/tokenizer_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/tokenizer.h"

namespace trireme::text {
namespace {

/// The message of the refusal, with its kind checked; "accepted" if there is none.
std::string refusal(const std::string& json) {
  try {
    Tokenizer::parse(json, "t.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint) << error.what();
    EXPECT_TRUE(std::string(error.what()).starts_with("t.json")) << error.what();
    return error.what();
  }
  return "accepted";
}

std::string with_vocabulary(const std::string& vocabulary) {
  return R"({"model": {"type": "BPE", "vocab": )" + vocabulary + R"(, "merges": []}})";
}

std::string with_merges(const std::string& merges) {
  return R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": )" + merges +
         "}}";
}

std::string with_part(const std::string& part) {
  return R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, )" + part + "}";
}

std::string with_model_part(const std::string& part) {
  return R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], )" + part + "}}";
}

struct Broken {
  const char* description;
  std::string json;
  std::string expected;  // part of the message
};

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int idx = 0; idx < times; ++idx) all += text;
  return all;
}

std::vector<Broken> broken_files() {
  const std::string pre = R"("pre_tokenizer": )";
  return {
      {"empty", "", "not JSON"},
      {"not JSON", "tokenizer", "not JSON"},
      {"a list", "[1]", "expected an object"},
      {"bad UTF-8", with_vocabulary("{\"\xff\": 0}"), "not JSON"},
      {"half a surrogate", with_vocabulary(R"({"\ud800": 0})"), "not JSON"},
      {"deep", repeated("[", 100'000), "deeper than 64"},
      {"deep in the vocabulary", with_vocabulary(R"({"a": {"a": 1}})"), "found an object"},
      {"deep in the merges", with_merges(repeated("[", 100'000)), "expected \"a b\""},
      {"key twice", R"({"model": {}, "model": {}})", "\"model\" stands twice"},
      {"vocabulary twice", R"({"model": {"vocab": {"a": 0}, "vocab": {"b": 0}, "merges": []}})",
       "stands twice"},
      {"no model", "{}", "model: missing"},
      {"model is a list", R"({"model": []})", "model: expected an object"},
      {"unknown model", R"({"model": {"type": "Unigram", "vocab": []}})",
       "unknown model \"Unigram\""},
      {"no vocabulary", R"({"model": {"type": "BPE", "merges": []}})", "model.vocab"},
      {"vocabulary is a list", with_vocabulary("[]"), "model.vocab"},
      {"no merges", R"({"model": {"type": "BPE", "vocab": {"a": 0}}})", "model.merges"},
      {"merges are an object", with_merges("{}"), "model.merges"},
      {"id negative", with_vocabulary(R"({"a": -1})"), "found -1"},
      {"id too large", with_vocabulary(R"({"a": 4194304})"), "from 0 to 4194303, found 4194304"},
      {"id huge", with_vocabulary(R"({"a": 18446744073709551615})"), "found 18446744073709551615"},
      {"id beyond all", with_vocabulary(R"({"a": 99999999999999999999999})"), "found 9999999999"},
      {"id fractional", with_vocabulary(R"({"a": 1.5})"), "found 1.5"},
      {"id a string", with_vocabulary(R"({"a": "0"})"), "found a string"},
      {"id null", with_vocabulary(R"({"a": null})"), "found null"},
      {"id a list", with_vocabulary(R"({"a": []})"), "found a list"},
      {"id twice", with_vocabulary(R"({"a": 0, "b": 0})"), "id 0 stands twice"},
      {"token twice", with_vocabulary(R"({"a": 0, "a": 1})"), "token \"a\" stands twice"},
      {"merge of one", with_merges(R"(["ab"])"), "merges[0]"},
      {"merge of three", with_merges(R"(["a b", "a b c"])"), "merges[1]"},
      {"merge list of one", with_merges(R"([["a"]])"), "merges[0]"},
      {"merge list of three", with_merges(R"([["a", "b", "c"]])"), "merges[0]"},
      {"merge of numbers", with_merges("[[1, 2]]"), "merges[0]"},
      {"merge null", with_merges("[null]"), "merges[0]"},
      {"merge an object", with_merges("[{}]"), "merges[0]"},
      {"merge of unknown tokens", with_merges(R"(["a x"])"), "token \"x\""},
      {"merge into unknown token", with_merges(R"(["b a"])"), "token \"ba\""},
      {"unknown unk_token", with_model_part(R"("unk_token": "u")"),
       "\"u\" is not in the vocabulary"},
      {"unk_token a number", with_model_part(R"("unk_token": 1)"), "model.unk_token"},
      {"fuse_unk a string", with_model_part(R"("fuse_unk": "yes")"), "model.fuse_unk"},
      {"dropout", with_model_part(R"("dropout": 0.1)"), "model.dropout"},
      {"prefix of subwords", with_model_part(R"("continuing_subword_prefix": "##")"), "\"##\""},
      {"suffix of words", with_model_part(R"("end_of_word_suffix": "</w>")"), "\"</w>\""},
      {"added tokens no list", with_part(R"("added_tokens": {})"), "added_tokens: expected a list"},
      {"added token no object", with_part(R"("added_tokens": [1])"), "added_tokens[0]"},
      {"added token without id", with_part(R"("added_tokens": [{"content": "x"}])"), "id: missing"},
      {"added token with huge id",
       with_part(R"("added_tokens": [{"id": 4194304, "content": "x"}])"), "4194303"},
      {"added token with another id", with_part(R"("added_tokens": [{"id": 1, "content": "a"}])"),
       "it has id 0 already"},
      {"added token in another's place",
       with_part(R"("added_tokens": [{"id": 0, "content": "b"}])"), "that id is \"a\""},
      {"added token with flag of wrong type",
       with_part(R"("added_tokens": [{"id": 1, "content": "x", "lstrip": 1}])"), "lstrip"},
      {"unknown normalizer", with_part(R"("normalizer": {"type": "Nmt"})"), "normalizer \"Nmt\""},
      {"normalizer without type", with_part(R"("normalizer": {})"), "normalizer.type: missing"},
      {"normalizer a string", with_part(R"("normalizer": "NFC")"),
       "normalizer: expected an object"},
      {"unknown pre-tokenizer", with_part(pre + R"({"type": "UnicodeScripts"})"),
       "pre-tokenizer \"UnicodeScripts\""},
      {"unknown in a sequence",
       with_part(pre + R"({"type": "Sequence", "pretokenizers": [{"type": "X"}]})"),
       "pre_tokenizer.pretokenizers[0]"},
      {"unknown behavior",
       with_part(pre + R"({"type": "Split", "pattern": {"String": " "}, "behavior": "Kept"})"),
       "behavior \"Kept\""},
      {"no pattern", with_part(pre + R"({"type": "Split", "behavior": "Removed"})"), "pattern"},
      {"unknown pattern",
       with_part(pre + R"({"type": "Split", "pattern": {"Glob": "*"}, "behavior": "Removed"})"),
       "pattern: expected"},
      {"bad expression",
       with_part(pre + R"({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Removed"})"),
       "bad pattern at its byte 2"},
      {"long expression",
       with_part(pre + R"({"type": "Split", "pattern": {"Regex": ")" + repeated("ab", 40'000) +
                 R"("}, "behavior": "Removed"})"),
       "a pattern of 80000 bytes"},
      {"deep expression",
       with_part(pre + R"({"type": "Split", "pattern": {"Regex": ")" + repeated("(", 10'000) +
                 repeated(")", 10'000) + R"("}, "behavior": "Removed"})"),
       "bad pattern"},
      {"huge expression",
       with_part(pre + R"({"type": "Split", "pattern": {"Regex": "(((a{999}){999}){999}){999}"},
                           "behavior": "Removed"})"),
       "bad pattern"},
      {"mark of two characters", with_part(pre + R"({"type": "Metaspace", "replacement": "ab"})"),
       "one character"},
      {"unknown scheme",
       with_part(pre + R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})"),
       "scheme \"last\""},
      {"unknown post-processor", with_part(R"("post_processor": {"type": "X"})"),
       "post-processor \"X\""},
      {"template without text",
       with_part(R"("post_processor": {"type": "TemplateProcessing", "single": [],
                                       "special_tokens": {}})"),
       "the sequence A exactly once"},
      {"template with unknown token", with_part(R"("post_processor": {"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                    "special_tokens": {}})"),
       "<s>"},
      {"template with huge id", with_part(R"("post_processor": {"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                    "special_tokens": {"<s>": {"ids": [1000000000000]}}})"),
       "ids[0]"},
      {"added token that its own normalizer cannot take",
       with_part(R"("added_tokens": [{"id": 1, "content": ")" + repeated("a", 60) +
                 R"(", "normalized": true}],
                 "normalizer": {"type": "Replace", "pattern": {"Regex": "(a|a)*\\d"},
                                "content": ""})"),
       "needs too much"},
      {"key of a megabyte",
       R"({")" + std::string(1'000'000, 'k') + R"(": 1, ")" + std::string(1'000'000, 'k') +
           R"(": 1})",
       "stands twice"},
      {"string of a megabyte without an end", "{\"" + std::string(1'000'000, 'k'), "not JSON"},
      {"unknown decoder", with_part(R"("decoder": {"type": "CTC"})"), "decoder \"CTC\""},
      {"strip of a million",
       with_part(R"("decoder": {"type": "Strip", "content": " ", "start": 1000000, "stop": 0})"),
       "decoder.start"},
      {"ByteLevel behind Fuse",
       with_part(R"("decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"},
                                                                 {"type": "ByteLevel"}]})"),
       "behind a Fuse"},
  };
}

TEST(TokenizerFile, RefusesEachBrokenFileInItsOwnWords) {
  for (const Broken& broken : broken_files()) {
    const std::string message = refusal(broken.json);

    EXPECT_NE(message.find(broken.expected), std::string::npos)
        << broken.description << ": " << message;
    EXPECT_LT(message.size(), 2000U) << broken.description;
  }
}

TEST(TokenizerFile, RefusesEveryTruncation) {
  const std::string whole =
      with_part(R"("added_tokens": [{"id": 1, "content": "x"}], "decoder": {"type": "Fuse"})");
  ASSERT_EQ(refusal(whole), "accepted");

  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(refusal(whole.substr(0, size)).find("not JSON"), std::string::npos) << size;
  }
}

TEST(TokenizerFile, SurvivesEveryChangedByte) {
  const std::string whole = with_merges(R"(["a b"])");

  for (std::size_t idx = 0; idx < whole.size(); ++idx) {
    for (const char byte : {'\0', '"', '}', '9', '-', '\x80', '\\'}) {
      std::string changed = whole;
      changed[idx] = byte;
      refusal(changed);
    }
  }
}

TEST(TokenizerFile, TakesFilesWithoutTypeAndWithHolesAmongIds) {
  const Tokenizer tokenizer =
      Tokenizer::parse(R"({"model": {"vocab": {"a": 5, "b": 900}, "merges": []}})", "old");

  EXPECT_EQ(tokenizer.num_tokens(), 901);
  EXPECT_EQ(tokenizer.decode({0, 5, 100, 900, 901}, false), "a b");
}

}  // namespace
}  // namespace trireme::text
