#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"

namespace trireme::text {
namespace {

const Json kHello = {{{"role", "user"}, {"content", "Hi"}}};

// A model folder that is gone after the test.
class ModelFolder {
 public:
  ModelFolder() : path_(std::filesystem::temp_directory_path() / unique_name()) {
    std::filesystem::create_directories(path_);
  }
  ~ModelFolder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  std::string path() const { return path_.string(); }

 private:
  static std::string unique_name() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    return cat("trireme_chat_", test->name(), "_", getpid());
  }
  std::filesystem::path path_;
};

std::string message_of(const std::function<void()>& work, ErrorKind kind) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

std::string render(const std::string& source, const Json& messages = kHello,
                   const ChatOptions& options = {}) {
  return ChatTemplate::parse(source, "t", std::nullopt, std::nullopt).render(messages, options, 0);
}

TEST(ChatTemplate, IsNoneForAModelWithoutOne) {
  const ModelFolder folder;
  EXPECT_FALSE(ChatTemplate::load(folder.path()));

  folder.write("tokenizer_config.json", R"({"bos_token": "<s>", "chat_template": null})");
  EXPECT_FALSE(ChatTemplate::load(folder.path()));
}

TEST(ChatTemplate, IsReadFromItsOwnFileBeforeTheTokenizersConfig) {
  const ModelFolder folder;
  folder.write(
      "tokenizer_config.json",
      R"({"chat_template": "config", "bos_token": {"content": "<s>"}, "eos_token": "</s>"})");
  EXPECT_EQ(ChatTemplate::load(folder.path())->render(kHello, {}, 0), "config");

  folder.write("chat_template.jinja", "file {{ bos_token }}{{ eos_token }}\n");
  EXPECT_EQ(ChatTemplate::load(folder.path())->render(kHello, {}, 0), "file <s></s>");
}

TEST(ChatTemplate, OfANamedListIsChosenByTools) {
  const ModelFolder folder;
  folder.write("tokenizer_config.json", R"({"chat_template": [
      {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]})");
  const auto chat_template = ChatTemplate::load(folder.path());
  ChatOptions with_tools;
  with_tools.tools = Json::array();
  ChatOptions with_kwargs;
  with_kwargs.kwargs = {{"tools", Json::array()}};

  EXPECT_EQ(chat_template->render(kHello, {}, 0), "plain");
  EXPECT_EQ(chat_template->render(kHello, with_tools, 0), "tools");
  EXPECT_EQ(chat_template->render(kHello, with_kwargs, 0), "tools");
}

TEST(ChatTemplate, OfANamedListWithoutDefaultRefusesRows) {
  const ModelFolder folder;
  folder.write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  const auto chat_template = ChatTemplate::load(folder.path());

  const auto message = message_of([&] { chat_template->render(kHello, {}, 0); }, ErrorKind::input);

  EXPECT_NE(message.find("'default'"), std::string::npos) << message;
}

TEST(ChatTemplate, ThatCannotBeParsedRefusesRowsAndNotTheModel) {
  const ModelFolder folder;
  folder.write("chat_template.jinja", "a\n{% include 'x' %}");

  const auto chat_template = ChatTemplate::load(folder.path());
  const auto message = message_of([&] { chat_template->render(kHello, {}, 0); }, ErrorKind::input);

  EXPECT_NE(message.find("chat_template.jinja: line 2: the tag 'include'"), std::string::npos)
      << message;
}

TEST(ChatTemplate, FilesThatCannotBeReadAreErrorsOfTheCheckpoint) {
  const ModelFolder folder;
  const auto load = [&] { ChatTemplate::load(folder.path()); };
  for (const char* config : {"[1]", "{", R"({"chat_template": 3})", R"({"bos_token": 1})",
                             R"({"chat_template": [{"name": "default"}]})"}) {
    folder.write("tokenizer_config.json", config);
    const auto message = message_of(load, ErrorKind::checkpoint);
    EXPECT_NE(message.find("tokenizer_config.json"), std::string::npos) << message;
  }

  std::filesystem::create_directory(folder.path() + "/chat_template.jinja");
  folder.write("tokenizer_config.json", "{}");
  EXPECT_NE(message_of(load, ErrorKind::checkpoint).find("chat_template.jinja"), std::string::npos);
}

TEST(ChatTemplate, NamesLineAndConstructOfAnError) {
  EXPECT_EQ(message_of([] { render("\n\n{{ 'x' | uper }}"); }, ErrorKind::input),
            "t: line 3: the filter 'uper' is not known; is 'upper' meant?");
  EXPECT_EQ(message_of([] { render("\n{{ messages.nope.x }}"); }, ErrorKind::input),
            "t: line 2: list object has no attribute 'nope'");
  EXPECT_EQ(message_of([] { render("{% if x %}\n{% endfor %}"); }, ErrorKind::input),
            "t: line 2: the tag 'endfor' closes nothing here");
}

TEST(ChatTemplate, TellsTheTemplatesOwnRefusalWithItsWords) {
  const auto message = message_of(
      [] { render("\n{{ raise_exception('Only users, bitte schön') }}"); }, ErrorKind::input);
  EXPECT_EQ(message, "t: line 2: the template refuses: Only users, bitte schön");
}

TEST(ChatTemplate, KwargsWinOverAllOtherNames) {
  ChatOptions options;
  options.kwargs = Json::parse(R"({"add_generation_prompt": 0, "documents": [{"a": 1}],
                                   "range": 7, "bos_token": "B", "unused": 1})");

  EXPECT_EQ(render("{{ add_generation_prompt }}{{ documents }}{{ range }}{{ bos_token }}", kHello,
                   options),
            "0[{'a': 1}]7B");
}

TEST(ChatTemplate, RefusesArgumentsOfAWrongShape) {
  const auto refusal = [](const Json& messages, const ChatOptions& options) {
    return message_of([&] { render("x", messages, options); }, ErrorKind::input);
  };
  ChatOptions list_kwargs;
  list_kwargs.kwargs = Json::array();
  ChatOptions text_tool;
  text_tool.tools = {"a"};

  EXPECT_NE(refusal("Hi", {}).find("messages: a list"), std::string::npos);
  EXPECT_NE(refusal({1}, {}).find("messages[0]: a message is an object"), std::string::npos);
  EXPECT_NE(refusal(Json::array(), {}).find("empty"), std::string::npos);
  EXPECT_NE(refusal(kHello, list_kwargs).find("chat_template_kwargs"), std::string::npos);
  EXPECT_NE(refusal(kHello, text_tool).find("tools"), std::string::npos);
  EXPECT_NE(refusal({{{"x", 18446744073709551615U}}}, {}).find("64 bits"), std::string::npos);
}

TEST(ChatTemplate, RefusesJsonThatIsNestedTooDeep) {
  Json deep = 1;
  for (int level = 0; level < 200; ++level) deep = Json::array({std::move(deep)});
  Json messages = kHello;
  messages[0]["x"] = std::move(deep);

  const auto message = message_of([&] { render("x", messages); }, ErrorKind::input);

  EXPECT_NE(message.find("messages[0]: nested deeper"), std::string::npos) << message;
}

TEST(ChatTemplate, ContinuesTheLastPartThatHasAText) {
  const std::string source =
      "{% for m in messages %}[{% for p in m.content %}{{ p.text }}{{ p.url }}{% endfor %}]"
      "{% endfor %}";
  const Json messages = Json::parse(R"([{"role": "assistant", "content": [
      {"type": "text", "text": "one"}, {"type": "text", "text": "two "}, {"url": "u"}]}])");
  ChatOptions options{.add_generation_prompt = false, .continue_final_message = true};

  EXPECT_EQ(render(source, messages, options), "[onetwo ");
}

TEST(ChatTemplate, CanBeContinuedByKwargsToo) {
  ChatOptions options;
  options.kwargs = {{"continue_final_message", true}, {"add_generation_prompt", false}};

  EXPECT_EQ(render("<{{ messages[0].content }}>", kHello, options), "<Hi");
}

TEST(ChatTemplate, CannotContinueWhereItNeverSaysContent) {
  ChatOptions options{.add_generation_prompt = false, .continue_final_message = true};
  const auto message =
      message_of([&] { render("{{ messages }}", kHello, options); }, ErrorKind::input);
  EXPECT_NE(message.find("does not use the 'content'"), std::string::npos) << message;
}

TEST(ChatTemplate, CanBeSharedByThreads) {
  const auto chat_template = ChatTemplate::parse(
      "{% macro m(x) %}<{{ x | upper }}>{% endmacro %}{% set d = {'k': 'v'} %}"
      "{% for i in range(200) %}{{ m(messages[0].content ~ d.k ~ i) }}{% endfor %}",
      "t", std::nullopt, std::nullopt);
  const std::string expected = chat_template.render(kHello, {}, 0);

  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&] { text = chat_template.render(kHello, {}, 0); });
  }
  for (std::thread& thread : threads) thread.join();

  for (const std::string& text : texts) EXPECT_EQ(text, expected);
}

}  // namespace
}  // namespace trireme::text
