#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "text/tokenizer.h"

namespace trireme::test {
namespace {

using namespace trireme::engine;

// Byte-level BPE without merges: one token per byte, in the GPT-2 spelling of bytes, and two
// special ones. The ids of printable ASCII are written beside the tests by their characters.
std::string byte_tokenizer_json() {
  std::string vocabulary;
  int next = 0;
  const auto add = [&](const std::string& word) {
    vocabulary += (next == 0 ? "" : ",") + ("\"" + word + "\":" + std::to_string(next));
    ++next;
  };
  for (char c = 'a'; c <= 'z'; ++c) add(std::string(1, c));  // 0 to 25
  add("Ġ");                                                  // 26: space
  add("Ã");                                                  // 27: byte C3
  add("¤");                                                  // 28: byte A4: with C3 the letter ä
  return R"({"version":"1.0","added_tokens":[{"id":29,"content":"<end>","special":true,)"
         R"("single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],)"
         R"("normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)"
         R"("trim_offsets":true,"use_regex":true},"post_processor":null,)"
         R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" +
         vocabulary + R"(},"merges":[]}})";
}

constexpr std::int32_t kSpace = 26, kByteC3 = 27, kByteA4 = 28, kEnd = 29;

class SequenceTest : public testing::Test {
 protected:
  SequenceTest() {
    request_.prompt_tokens = {0, 1};
    request_.params.max_tokens = 100;
  }

  void start() {
    sequence_ = std::make_unique<Sequence>(std::make_shared<Request>(request_), 0, rules_);
  }
  void accept(std::int32_t token) { sequence_->accept(token, -0.5F, nullptr, nullptr); }
  /// Feeds letters until the sequence ends; how many it took.
  std::size_t feed(const std::string& text) {
    std::size_t taken = 0;
    for (const char c : text) {
      if (is_finished()) break;
      accept(c == ' ' ? kSpace : c - 'a');
      ++taken;
    }
    return taken;
  }
  bool is_finished() const { return sequence_->state == Sequence::State::finished; }

  text::Tokenizer tokenizer_ = text::Tokenizer::parse(byte_tokenizer_json(), "tokenizer.json");
  TextRules rules_{.tokenizer = &tokenizer_, .eos_token_ids = {kEnd}, .max_seq_len = 1000};
  Request request_;
  std::unique_ptr<Sequence> sequence_;
};

TEST_F(SequenceTest, EndsBeforeAStopStringThatSpansTokens) {
  request_.params.stop = {"nowhere", "the end"};
  start();

  EXPECT_EQ(feed("this is the end of it"), 15U);

  const Completion done = sequence_->take_completion();
  EXPECT_TRUE(is_finished());
  EXPECT_EQ(done.text, "this is ");
  EXPECT_EQ(done.finish_reason, FinishReason::stop);
  EXPECT_EQ(done.output_tokens.size(), 15U) << "the tokens that made the string stay";
}

TEST_F(SequenceTest, OfSeveralStopStringsTheEarliestCounts) {
  for (const std::vector<std::string>& stop :
       {std::vector<std::string>{"cd", "bcd"}, std::vector<std::string>{"bcd", "cd"}}) {
    request_.params.stop = stop;
    start();

    feed("abcdef");

    EXPECT_EQ(sequence_->take_completion().text, "a");
  }
}

TEST_F(SequenceTest, AStopStringInsideThePromptIsNoEnd) {
  request_.params.stop = {"ab"};
  start();

  feed("ba");

  EXPECT_FALSE(is_finished());
}

TEST_F(SequenceTest, EndsAtTheEndOfSequenceToken) {
  start();
  feed("ab");
  accept(kEnd);

  const Completion done = sequence_->take_completion();
  EXPECT_EQ(done.finish_reason, FinishReason::stop);
  EXPECT_EQ(done.text, "ab") << "special tokens are left out";
  EXPECT_EQ(done.output_tokens.back(), kEnd) << "and stay among the ids";
}

TEST_F(SequenceTest, IgnoresTheEndOfSequenceTokenWhereAsked) {
  request_.params.ignore_eos = true;
  request_.params.max_tokens = 3;
  start();
  accept(kEnd);
  EXPECT_FALSE(is_finished());
  feed("ab");

  const Completion done = sequence_->take_completion();
  EXPECT_EQ(done.finish_reason, FinishReason::length);
  EXPECT_EQ(done.text, "ab");
}

TEST_F(SequenceTest, EndsAtAStopTokenWhichIgnoreEosDoesNotConcern) {
  request_.params.ignore_eos = true;
  request_.params.stop_token_ids = {2};
  start();

  EXPECT_EQ(feed("abcd"), 3U);
  EXPECT_EQ(sequence_->take_completion().finish_reason, FinishReason::stop);
}

TEST_F(SequenceTest, LooksForStopStringsFromMinTokensOn) {
  request_.params.stop = {"b"};
  request_.params.min_tokens = 4;
  start();

  EXPECT_EQ(feed("ababab"), 4U);
  EXPECT_EQ(sequence_->take_completion().text, "aba");
}

TEST_F(SequenceTest, EndsAtTheLimits) {
  request_.params.max_tokens = 2;
  start();
  EXPECT_FALSE(sequence_->reaches_limit());
  feed("a");
  sequence_->num_pending = 1;
  EXPECT_TRUE(sequence_->reaches_limit()) << "the token on its way is the last";
  sequence_->num_pending = 0;
  feed("b");
  EXPECT_EQ(sequence_->take_completion().finish_reason, FinishReason::length);

  request_.params.max_tokens = 100;
  rules_.max_seq_len = 5;
  start();
  EXPECT_EQ(feed("abcdefg"), 3U);
  EXPECT_EQ(sequence_->take_completion().finish_reason, FinishReason::length);
}

TEST_F(SequenceTest, TextNeverEndsInsideACharacterBeforeTheEnd) {
  request_.params.stop = {"ä"};
  start();
  feed("a");
  accept(kByteC3);
  EXPECT_FALSE(is_finished());
  accept(kByteA4);

  EXPECT_TRUE(is_finished());
  EXPECT_EQ(sequence_->take_completion().text, "a");
}

TEST_F(SequenceTest, BytesThatAreNoCharacterAreKeptAtTheEnd) {
  request_.params.max_tokens = 2;
  start();
  feed("a");
  accept(kByteC3);

  EXPECT_EQ(sequence_->take_completion().text, "a\xc3");
}

TEST_F(SequenceTest, WithoutATokenizerThereAreIdsAndNoText) {
  rules_.tokenizer = nullptr;
  request_.params.max_tokens = 2;
  start();
  feed("ab");

  const Completion done = sequence_->take_completion();
  EXPECT_EQ(done.output_tokens, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(done.text, "");
}

TEST_F(SequenceTest, KeepsLogprobsBesideTheTokens) {
  request_.params.logprobs = 2;
  request_.params.prompt_logprobs = true;
  request_.params.max_tokens = 2;
  start();
  const std::int32_t ids[] = {4, 5};
  const float values[] = {-0.25F, -2.0F};
  const float scores[] = {-3.0F};
  sequence_->accept_scores(scores, 1);
  EXPECT_TRUE(sequence_->has_all_scores());
  sequence_->accept(4, -0.25F, ids, values);
  sequence_->accept(5, -2.0F, ids, values);

  const Completion done = sequence_->take_completion();
  EXPECT_EQ(done.logprobs, (std::vector<float>{-0.25F, -2.0F}));
  EXPECT_EQ(done.top_ids, (std::vector<std::int32_t>{4, 5, 4, 5}));
  EXPECT_EQ(done.top_logprobs, (std::vector<float>{-0.25F, -2.0F, -0.25F, -2.0F}));
  ASSERT_EQ(done.prompt_logprobs.size(), 2U);
  EXPECT_TRUE(std::isnan(done.prompt_logprobs[0]));
  EXPECT_EQ(done.prompt_logprobs[1], -3.0F);
}

TEST_F(SequenceTest, AFailureStaysAFailureEvenIfHeldBackBytesCompleteAStopString) {
  request_.params.stop = {"\xc3"};
  start();
  accept(kByteC3);
  sequence_->fail("broken");

  const Completion done = sequence_->take_completion();
  EXPECT_EQ(done.error, "broken");
  EXPECT_EQ(done.finish_reason, FinishReason::error);
}

}  // namespace
}  // namespace trireme::test
