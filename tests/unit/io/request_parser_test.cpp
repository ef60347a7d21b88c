#include "io/request_parser.h"

#include <gtest/gtest.h>

namespace trireme::io {
namespace {

std::string wrong_with(const std::string& text) {
  PromptRow row;
  return parse_request(parse_json(text, "request"), row);
}

PromptRow parsed(const std::string& text) {
  PromptRow row;
  EXPECT_EQ(parse_request(parse_json(text, "request"), row), "");
  return row;
}

TEST(Request, TakesAllFieldsOfAChat) {
  const PromptRow row = parsed(R"({
    "model": "any", "user": "me", "messages": [{"role": "user", "content": "hi"}],
    "max_completion_tokens": 5, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
    "seed": 18446744073709551615, "stop": ["a", "b"], "stop_token_ids": [1, 2], "n": 3,
    "logprobs": true, "top_logprobs": 4, "presence_penalty": -1, "frequency_penalty": 0.5,
    "repetition_penalty": 1.1, "logit_bias": {"7": -100, "8": 2.5}, "min_tokens": 2,
    "ignore_eos": true, "prompt_logprobs": true, "chat_template_kwargs": {"thinking": false},
    "tools": [{"type": "function"}], "documents": [], "add_generation_prompt": false,
    "continue_final_message": true, "stream": true, "response_format": {"type": "text"},
    "best_of": null})");

  EXPECT_EQ(row.kind, PromptKind::messages);
  EXPECT_EQ(row.messages[0]["content"], "hi");
  const RowOptions& options = row.options;
  EXPECT_EQ(options.max_tokens, 5);
  EXPECT_EQ(options.temperature, 0.7);
  EXPECT_EQ(options.top_p, 0.9);
  EXPECT_EQ(options.top_k, 40);
  EXPECT_EQ(options.min_p, 0.05);
  EXPECT_EQ(options.seed, 18446744073709551615ULL);
  EXPECT_EQ(options.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.stop_token_ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(options.n, 3);
  EXPECT_EQ(options.logprobs, 4);
  EXPECT_EQ(options.presence_penalty, -1);
  EXPECT_EQ(options.frequency_penalty, 0.5);
  EXPECT_EQ(options.repetition_penalty, 1.1);
  EXPECT_EQ(options.logit_bias,
            (std::vector<std::pair<std::int32_t, float>>{{7, -100.F}, {8, 2.5F}}));
  EXPECT_EQ(options.min_tokens, 2);
  EXPECT_EQ(options.ignore_eos, true);
  EXPECT_EQ(options.prompt_logprobs, true);
  EXPECT_EQ(options.chat_template_kwargs, Json({{"thinking", false}}));
  EXPECT_EQ(options.tools.size(), 1U);
  EXPECT_TRUE(options.documents.is_array());
  EXPECT_EQ(options.add_generation_prompt, false);
  EXPECT_EQ(options.continue_final_message, true);
}

TEST(Request, TakesEveryFormOfPrompt) {
  EXPECT_EQ(parsed(R"({"prompt": "text"})").text, "text");
  EXPECT_EQ(parsed(R"({"input": "text"})").text, "text");
  EXPECT_EQ(parsed(R"({"prompt": ["text"]})").text, "text");
  EXPECT_EQ(parsed(R"({"prompt": [5, 6]})").token_ids, (std::vector<std::int32_t>{5, 6}));
  EXPECT_EQ(parsed(R"({"prompt": [[5, 6]]})").token_ids, (std::vector<std::int32_t>{5, 6}));
  EXPECT_EQ(parsed(R"({"input": [{"role": "user"}]})").kind, PromptKind::messages);
}

TEST(Request, TakesEveryFormOfLogprobs) {
  EXPECT_EQ(parsed(R"({"prompt": "a"})").options.logprobs, std::nullopt);
  EXPECT_EQ(parsed(R"({"prompt": "a", "logprobs": null})").options.logprobs, std::nullopt);
  EXPECT_EQ(parsed(R"({"prompt": "a", "logprobs": false})").options.logprobs, -1);
  EXPECT_EQ(parsed(R"({"prompt": "a", "logprobs": true})").options.logprobs, 0);
  EXPECT_EQ(parsed(R"({"prompt": "a", "logprobs": 3})").options.logprobs, 3);
  EXPECT_EQ(parsed(R"({"prompt": "a", "logprobs": true, "top_logprobs": 0})").options.logprobs, 0);
}

TEST(Request, ReplacesWhatColumnsSaid) {
  PromptRow row;
  row.options.max_tokens = 1;
  row.options.temperature = 0.5;

  EXPECT_EQ(parse_request(parse_json(R"({"prompt": "a", "max_tokens": 2})", "request"), row), "");

  EXPECT_EQ(row.options.max_tokens, 2);
  EXPECT_EQ(row.options.temperature, 0.5);
}

TEST(Request, NamesTheFieldThatIsWrong) {
  // What the request holds beside a good prompt, and what the message must name.
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("response_format": {"type": "json_object"})", "response_format"},
      {R"("echo": true)", "echo"},
      {R"("best_of": 2)", "best_of"},
      {R"("tool_choice": "required")", "tool_choice"},
      {R"("max_token": 5)", "max_token"},
      {R"("guided_json": {})", "guided_json"},
      {R"("n": 257)", "1 to 256"},
      {R"("n": 0)", "n: 0"},
      {R"("n": 1000000)", "n: 1000000"},
      {R"("n": "2")", "n: \"2\""},
      {R"("n": 2.0)", "n: 2.0"},
      {R"("n": true)", "n: true"},
      {R"("max_tokens": -1)", "max_tokens: -1"},
      {R"("max_tokens": 99999999999999999999)", "max_tokens"},
      {R"("max_tokens": 18446744073709551615)", "max_tokens"},
      {R"("max_tokens": 5, "max_completion_tokens": 6)", "max_completion_tokens is 6"},
      {R"("max_completion_tokens": -3)", "max_completion_tokens: -3"},
      {R"("temperature": 0.001)", "temperature: 0.001"},
      {R"("temperature": -1)", "temperature"},
      {R"("temperature": "hot")", "temperature"},
      {R"("top_p": 0)", "top_p"},
      {R"("top_p": 1.5)", "top_p"},
      {R"("top_k": -1)", "top_k"},
      {R"("min_p": -0.1)", "min_p"},
      {R"("seed": -1)", "seed: -1"},
      {R"("seed": 1.5)", "seed"},
      {R"("presence_penalty": 3)", "presence_penalty"},
      {R"("frequency_penalty": -3)", "frequency_penalty"},
      {R"("repetition_penalty": 0)", "repetition_penalty"},
      {R"("logprobs": 21)", "logprobs: 21"},
      {R"("logprobs": "yes")", "logprobs"},
      {R"("top_logprobs": 5)", "logprobs: true"},
      {R"("logprobs": true, "top_logprobs": 21)", "top_logprobs: 21"},
      {R"("logprobs": true, "top_logprobs": -1)", "top_logprobs: -1"},
      {R"("stop": [""])", "stop"},
      {R"("stop": 5)", "stop"},
      {R"("stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])",
       "stop"},
      {R"("stop_token_ids": [-1])", "stop_token_ids"},
      {R"("stop_token_ids": 3)", "stop_token_ids"},
      {R"("logit_bias": {"x": 1})", "logit_bias"},
      {R"("logit_bias": {"-1": 1})", "logit_bias"},
      {R"("logit_bias": {"5": 101})", "logit_bias"},
      {R"("logit_bias": [1])", "logit_bias"},
      {R"("ignore_eos": 1)", "ignore_eos"},
      {R"("chat_template_kwargs": [])", "chat_template_kwargs"},
      {R"("tools": {})", "tools"},
      {R"("input": "b")", "both prompt and input"},
  };

  for (const auto& [fields, expected] : cases) {
    const std::string wrong = wrong_with(R"({"prompt": "a", )" + fields + "}");
    EXPECT_NE(wrong.find(expected), std::string::npos) << fields << " gives \"" << wrong << "\"";
  }
}

TEST(Request, NamesAPromptThatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[]", "expected an object"},
      {"{}", "none of messages, prompt, input"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": "hi"})", "messages"},
      {R"({"messages": ["hi"]})", "messages"},
      {R"({"prompt": 5})", "prompt"},
      {R"({"prompt": []})", "prompt"},
      {R"({"prompt": ["a", "b"]})", "expected one string"},
      {R"({"prompt": [1, -2]})", "-2"},
      {R"({"prompt": [1, 4294967296]})", "4294967296"},
      {R"({"prompt": [1, "a"]})", "\"a\""},
  };

  for (const auto& [text, expected] : cases) {
    const std::string wrong = wrong_with(text);
    EXPECT_NE(wrong.find(expected), std::string::npos) << text << " gives \"" << wrong << "\"";
  }
}

}  // namespace
}  // namespace trireme::io
