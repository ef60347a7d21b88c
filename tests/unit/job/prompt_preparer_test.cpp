#include "job/prompt_preparer.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

namespace trireme::job {
namespace {

using text::ChatTemplate;
using text::Tokenizer;

constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}{{ mood }}"
    "{% if messages[0].content == 'refuse' %}{{ raise_exception('not that') }}{% endif %}";

class PromptPreparer : public testing::Test {
 protected:
  PromptPreparer()
      : tokenizer_(Tokenizer::load(TRIREME_TEST_DATA "/demo")),
        template_(ChatTemplate::parse(kTemplate, "test", std::nullopt, std::nullopt)) {}

  PreparedPrompt prepared(const io::PromptRow& row) {
    return prepare(row, tokenizer_, template_, "DIR", 0);
  }
  std::string text_of(const PreparedPrompt& prompt) {
    return tokenizer_.decode(prompt.token_ids, false);
  }

  static io::PromptRow chat(const char* content) {
    io::PromptRow row;
    row.kind = io::PromptKind::messages;
    row.messages = Json::array({Json{{"role", "user"}, {"content", content}}});
    return row;
  }

  Tokenizer tokenizer_;
  std::optional<ChatTemplate> template_;
};

TEST_F(PromptPreparer, EncodesTextWithSpecialTokens) {
  io::PromptRow row;
  row.text = "In the beginning";

  EXPECT_EQ(prepared(row).token_ids, tokenizer_.encode("In the beginning", true));
  EXPECT_EQ(prepared(row).error, "");
}

TEST_F(PromptPreparer, TakesTokenIdsAsTheyAre) {
  io::PromptRow row;
  row.kind = io::PromptKind::token_ids;
  row.token_ids = {3, 1, 2};

  EXPECT_EQ(prepared(row).token_ids, row.token_ids);
}

TEST_F(PromptPreparer, RendersMessagesAndAddsNoSpecialTokens) {
  const PreparedPrompt prompt = prepared(chat("hi"));

  EXPECT_EQ(text_of(prompt), "<user>hi<assistant>");
  EXPECT_EQ(prompt.token_ids, tokenizer_.encode("<user>hi<assistant>", false));
}

TEST_F(PromptPreparer, PassesTheRowsTemplateOptionsOn) {
  io::PromptRow row = chat("hi");
  row.options.add_generation_prompt = false;
  row.options.chat_template_kwargs = {{"mood", "calm"}};

  EXPECT_EQ(text_of(prepared(row)), "<user>hicalm");
}

TEST_F(PromptPreparer, GoesOnFromAFinalMessage) {
  io::PromptRow row = chat("once upon");
  row.options.continue_final_message = true;

  EXPECT_EQ(text_of(prepared(row)), "<user>once upon");
}

TEST_F(PromptPreparer, MakesRowErrorsOfWhatIsWrongWithTheRow) {
  io::PromptRow failed;
  failed.error = "bad before";
  io::PromptRow empty;
  empty.kind = io::PromptKind::token_ids;
  io::PromptRow refused = chat("refuse");

  EXPECT_EQ(prepared(failed).error, "bad before");
  EXPECT_EQ(prepared(empty).error, "the prompt has no tokens");
  EXPECT_NE(prepared(refused).error.find("not that"), std::string::npos);
  EXPECT_TRUE(prepared(refused).token_ids.empty());
}

TEST_F(PromptPreparer, NamesTheFilesThatCouldHoldATemplate) {
  template_.reset();

  const std::string error = prepared(chat("hi")).error;

  for (const char* part : {"DIR", "chat_template.jinja", "tokenizer_config.json"}) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  }
}

TEST(CreationTime, IsSourceDateEpochIfSet) {
  ::setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
  EXPECT_EQ(creation_time(), 1'700'000'000);
  ::setenv("SOURCE_DATE_EPOCH", "soon", 1);
  EXPECT_THROW(creation_time(), Error);
  ::unsetenv("SOURCE_DATE_EPOCH");
  EXPECT_GT(creation_time(), 1'700'000'000);
}

}  // namespace
}  // namespace trireme::job
