#include "io/prompt_reader.h"

#include <gtest/gtest.h>

#include "expect_error.h"
#include "support/hdf5_builder.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::Hdf5Builder;

class Prompts : public testing::Test {
 protected:
  // Makes a file, opens it.
  template <typename Build>
  PromptReader made(Build build) {
    const std::string path = directory_.file("prompts" + std::to_string(num_files_++) + ".h5");
    {
      Hdf5Builder builder(path);
      build(builder);
    }
    return PromptReader::open(path);
  }

  test::TemporaryDirectory directory_;
  int num_files_ = 0;
};

TEST_F(Prompts, AreCompleteAsAListOfStrings) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"Why is the sky blue?", "", "Grüße, 日本"});
  });

  EXPECT_EQ(reader.num_rows(), 3);
  EXPECT_EQ(reader.source(), PromptSource::strings);
  EXPECT_TRUE(reader.warnings().empty());
  const PromptRow row = reader.read_row(2);
  EXPECT_EQ(row.error, "");
  EXPECT_EQ(row.index, 2);
  EXPECT_EQ(row.kind, PromptKind::text);
  EXPECT_EQ(row.text, "Grüße, 日本");
  EXPECT_EQ(row.options.max_tokens, std::nullopt);
  EXPECT_EQ(reader.lengths(0, 3), (std::vector<std::int64_t>{20, 0, 15}));
  EXPECT_EQ(reader.allowed_outputs(0, 3), (std::vector<std::int64_t>{-1, -1, -1}));
}

TEST_F(Prompts, MayBeFixedStrings) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.fixed_strings("/prompt", 6, {"abc", "abcdef"});
  });

  EXPECT_EQ(reader.read_row(0).text, "abc");
  EXPECT_EQ(reader.read_row(1).text, "abcdef");
  EXPECT_EQ(reader.lengths(0, 2), (std::vector<std::int64_t>{3, 6}));
}

TEST_F(Prompts, MayBeFlatBytesWithZeros) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.numbers("/prompt/data", {'a', 0, 'b', 'c'}, H5T_STD_U8LE)
        .numbers("/prompt/offsets", {0, 3, 3, 4});
  });

  EXPECT_EQ(reader.num_rows(), 3);
  EXPECT_EQ(reader.read_row(0).text, std::string("a\0b", 3));
  EXPECT_EQ(reader.read_row(1).text, "");
  EXPECT_EQ(reader.read_row(2).text, "c");
  EXPECT_EQ(reader.lengths(1, 3), (std::vector<std::int64_t>{0, 1}));
}

TEST_F(Prompts, MayBeTokenIds) {
  for (const hid_t type : {H5T_STD_I32LE, H5T_STD_U32LE, H5T_STD_I64LE, H5T_STD_I32BE}) {
    PromptReader reader = made([&](Hdf5Builder& file) {
      file.numbers("/input_ids/data", {5, 6, 7}, type).numbers("/input_ids/offsets", {0, 1, 3});
    });
    EXPECT_EQ(reader.read_row(0).token_ids, (std::vector<std::int32_t>{5}));
    EXPECT_EQ(reader.read_row(1).token_ids, (std::vector<std::int32_t>{6, 7}));
    EXPECT_EQ(reader.read_row(1).kind, PromptKind::token_ids);
    EXPECT_EQ(reader.lengths(0, 2), (std::vector<std::int64_t>{1, 2}));
  }
}

TEST_F(Prompts, MayBeMessagesOrRequests) {
  PromptReader messages = made([](Hdf5Builder& file) {
    file.strings("/messages", {R"([{"role": "user", "content": "hi"}])"});
  });
  EXPECT_EQ(messages.read_row(0).messages[0]["content"], "hi");

  PromptReader requests = made([](Hdf5Builder& file) {
    file.strings("/request", {R"({"prompt": "hi", "max_tokens": 3})", R"({"prompt": "ho"})"})
        .numbers("/max_tokens", {7, 8})
        .attribute("max_tokens", std::int64_t{9})
        .attribute("temperature", 0.5);
  });
  EXPECT_EQ(requests.read_row(0).options.max_tokens, 3);  // request over column
  EXPECT_EQ(requests.read_row(1).options.max_tokens, 8);  // column over attribute
  EXPECT_EQ(requests.read_row(1).options.temperature, 0.5);
  EXPECT_EQ(requests.defaults().max_tokens, 9);
}

TEST_F(Prompts, TakeEveryColumn) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"a", "b"})
        .strings("/custom_id", {"x", "y"})
        .numbers("/max_tokens", {5, 6}, H5T_STD_I16LE)
        .numbers("/min_tokens", {1, 2}, H5T_STD_U8LE)
        .numbers("/top_k", {0, 40})
        .numbers("/n", {1, 4})
        .numbers("/logprobs", {-1, 5})
        .numbers("/seed", {0, 77}, H5T_STD_U64LE)
        .floats("/temperature", {0, 0.5}, H5T_IEEE_F32LE)
        .floats("/top_p", {1, 0.5})
        .numbers("/min_p", {0, 1})
        .floats("/presence_penalty", {0, 1})
        .floats("/frequency_penalty", {0, 2})
        .floats("/repetition_penalty", {1, 1.5})
        .booleans("/ignore_eos", {false, true})
        .numbers("/prompt_logprobs", {0, 1}, H5T_STD_U8LE)
        .booleans("/add_generation_prompt", {true, false})
        .booleans("/continue_final_message", {false, true})
        .strings("/stop", {"", R"(["\n", "END"])"})
        .strings("/stop_token_ids", {"", "[3]"})
        .strings("/logit_bias", {"", R"({"4": 1.5})"})
        .strings("/chat_template_kwargs", {"", R"({"thinking": true})"})
        .strings("/tools", {"", R"([{"type": "function"}])"})
        .strings("/documents", {"", R"([{"text": "d"}])"})
        .strings("/domain", {"law", "code"});
  });

  const PromptRow first = reader.read_row(0);
  const PromptRow row = reader.read_row(1);

  EXPECT_TRUE(reader.warnings().empty());
  EXPECT_EQ(first.error, "");
  EXPECT_EQ(first.options.stop, std::nullopt);
  EXPECT_EQ(first.options.logprobs, -1);
  EXPECT_EQ(first.domain, "law");
  EXPECT_EQ(row.error, "");
  EXPECT_EQ(row.custom_id, CustomId("y"));
  EXPECT_EQ(row.options.max_tokens, 6);
  EXPECT_EQ(row.options.min_tokens, 2);
  EXPECT_EQ(row.options.top_k, 40);
  EXPECT_EQ(row.options.n, 4);
  EXPECT_EQ(row.options.logprobs, 5);
  EXPECT_EQ(row.options.seed, 77U);
  EXPECT_EQ(row.options.temperature, 0.5);
  EXPECT_EQ(row.options.top_p, 0.5);
  EXPECT_EQ(row.options.min_p, 1);
  EXPECT_EQ(row.options.presence_penalty, 1);
  EXPECT_EQ(row.options.frequency_penalty, 2);
  EXPECT_EQ(row.options.repetition_penalty, 1.5);
  EXPECT_EQ(row.options.ignore_eos, true);
  EXPECT_EQ(row.options.prompt_logprobs, true);
  EXPECT_EQ(row.options.add_generation_prompt, false);
  EXPECT_EQ(row.options.continue_final_message, true);
  EXPECT_EQ(row.options.stop, (std::vector<std::string>{"\n", "END"}));
  EXPECT_EQ(row.options.stop_token_ids, std::vector<std::int32_t>{3});
  EXPECT_EQ(row.options.logit_bias->at(0).first, 4);
  EXPECT_EQ(row.options.chat_template_kwargs["thinking"], true);
  EXPECT_EQ(row.options.tools.size(), 1U);
  EXPECT_EQ(row.options.documents.size(), 1U);
  EXPECT_EQ(row.domain, "code");
  EXPECT_EQ(reader.allowed_outputs(0, 2), (std::vector<std::int64_t>{5, 6}));
  EXPECT_EQ(reader.columns().size(), 24U);
}

TEST_F(Prompts, TakeDefaultsFromAttributes) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"a"})
        .attribute("schema", "trireme.prompts")
        .attribute("schema_version", "1.0.0")
        .attribute("max_tokens", std::int64_t{12})
        .attribute("stop", R"("END")")
        .attribute("ignore_eos", std::int64_t{1})
        .attribute("chat_template_kwargs", R"({"a": 1})")
        .attribute("domain", "law")
        .attribute("author", "me");
  });

  const PromptRow row = reader.read_row(0);

  EXPECT_EQ(row.options.max_tokens, 12);
  EXPECT_EQ(row.options.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(row.options.ignore_eos, true);
  EXPECT_EQ(row.options.chat_template_kwargs["a"], 1);
  EXPECT_EQ(row.domain, "law");
  EXPECT_TRUE(reader.warnings().empty());
  EXPECT_EQ(reader.allowed_outputs(0, 1), std::vector<std::int64_t>{12});
}

TEST_F(Prompts, KeepIntegerIds) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"a", "b"}).numbers("/custom_id", {-3, 1LL << 60});
  });

  EXPECT_EQ(reader.read_row(0).custom_id, CustomId(std::int64_t{-3}));
  EXPECT_EQ(reader.read_row(1).custom_id, CustomId(std::int64_t{1} << 60));
}

TEST_F(Prompts, TakeOverFailuresOfTokenizing) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.numbers("/input_ids/data", {5}, H5T_STD_I32LE)
        .numbers("/input_ids/offsets", {0, 0, 1, 1})
        .numbers("/status", {1, 0, 7}, H5T_STD_U8LE)
        .strings("/error", {"bad UTF-8", "", ""});
  });

  EXPECT_EQ(reader.read_row(0).error, "bad UTF-8");
  EXPECT_EQ(reader.read_row(1).error, "");
  EXPECT_NE(reader.read_row(2).error.find("/status: 7"), std::string::npos);
}

TEST_F(Prompts, WarnOfUnknownNames) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"a"})
        .numbers("/max_token", {5})
        .group("/notes")
        .attribute("temprature", 0.5);
  });

  ASSERT_EQ(reader.warnings().size(), 3U);
  EXPECT_NE(
      reader.warnings()[0].find("/max_token: unknown column, ignored; did you mean max_tokens?"),
      std::string::npos);
  EXPECT_NE(reader.warnings()[1].find("/notes"), std::string::npos);
  EXPECT_NE(reader.warnings()[2].find("did you mean temperature?"), std::string::npos);
}

TEST_F(Prompts, ThatAreBadAreErrorsOfTheirRowAlone) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"good", "bad \xff", "good", "good"})
        .strings("/stop", {"", "", "[unclosed", ""})
        .floats("/temperature", {0, 0, 0, -2});
  });

  EXPECT_EQ(reader.read_row(0).error, "");
  EXPECT_EQ(reader.read_row(1).error, "/prompt: bad UTF-8 at byte 4");
  EXPECT_EQ(reader.read_row(2).error.substr(0, 7), "/stop: ");
  EXPECT_EQ(reader.read_row(3).error,
            "/temperature: -2.0, expected 0 or a number of at least 0.01");
}

TEST_F(Prompts, NameColumnValueAndExpectationOfEveryRange) {
  struct Case {
    const char* column;
    double value;
  };
  const std::vector<Case> floats = {{"temperature", 0.001},
                                    {"temperature", NAN},
                                    {"temperature", INFINITY},
                                    {"top_p", 0},
                                    {"top_p", 1.01},
                                    {"min_p", -0.5},
                                    {"min_p", 2},
                                    {"presence_penalty", 2.5},
                                    {"frequency_penalty", -2.5},
                                    {"repetition_penalty", 0}};
  for (const Case& bad : floats) {
    PromptReader reader = made([&](Hdf5Builder& file) {
      file.strings("/prompt", {"a"}).floats(std::string("/") + bad.column, {bad.value});
    });
    const std::string error = reader.read_row(0).error;
    EXPECT_EQ(error.find(std::string("/") + bad.column + ": "), 0U) << error;
    EXPECT_NE(error.find("expected"), std::string::npos) << error;
  }
  const std::vector<Case> integers = {
      {"max_tokens", -1}, {"max_tokens", 3e9}, {"min_tokens", -1},     {"top_k", -1},
      {"n", 0},           {"n", 257},          {"logprobs", 21},       {"logprobs", -2},
      {"seed", -1},       {"ignore_eos", 2},   {"prompt_logprobs", -1}};
  for (const Case& bad : integers) {
    PromptReader reader = made([&](Hdf5Builder& file) {
      file.strings("/prompt", {"a"})
          .numbers(std::string("/") + bad.column, {static_cast<std::int64_t>(bad.value)});
    });
    const std::string error = reader.read_row(0).error;
    EXPECT_EQ(error.find(std::string("/") + bad.column + ": "), 0U) << error;
    EXPECT_NE(error.find("expected"), std::string::npos) << error;
  }
}

TEST_F(Prompts, CompareMinTokensWithMaxTokens) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.strings("/prompt", {"a"})
        .numbers("/min_tokens", {9})
        .attribute("max_tokens", std::int64_t{5});
  });

  EXPECT_NE(reader.read_row(0).error.find("min_tokens is 9"), std::string::npos);
}

TEST_F(Prompts, MayNotHideZeroBytes) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.string_with_zero("/prompt", std::string("before\0after", 12));
  });

  EXPECT_NE(reader.read_row(0).error.find("zero byte at byte 6"), std::string::npos);
}

TEST_F(Prompts, MayNotBeNegativeTokens) {
  PromptReader reader = made([](Hdf5Builder& file) {
    file.numbers("/input_ids/data", {5, -6, 1LL << 31}).numbers("/input_ids/offsets", {0, 1, 2, 3});
  });

  EXPECT_EQ(reader.read_row(0).error, "");
  EXPECT_NE(reader.read_row(1).error.find("token id -6"), std::string::npos);
  EXPECT_NE(reader.read_row(2).error.find("token id 2147483648"), std::string::npos);
}

TEST_F(Prompts, AreReadInAnyOrder) {
  std::vector<std::string> texts;
  std::vector<std::int64_t> limits;
  for (int i = 0; i < 10'000; ++i) {
    texts.push_back("prompt " + std::to_string(i));
    limits.push_back(i);
  }
  PromptReader reader = made([&](Hdf5Builder& file) {
    file.strings("/prompt", texts).numbers("/max_tokens", limits).numbers("/custom_id", limits);
  });

  for (const std::int64_t i : {9999, 0, 1, 2, 3, 4095, 4096, 5000, 4, 9998, 9999}) {
    const PromptRow row = reader.read_row(i);
    EXPECT_EQ(row.text, texts[static_cast<std::size_t>(i)]);
    EXPECT_EQ(row.options.max_tokens, i);
    EXPECT_EQ(row.custom_id, CustomId(i));
  }
  EXPECT_EQ(reader.lengths(9990, 10'000).size(), 10U);
}

}  // namespace
}  // namespace trireme::io
