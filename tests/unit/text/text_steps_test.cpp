// The steps of a tokenizer one by one: expressions, normalizers, pre-tokenizers, added tokens,
// decoders.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/byte_alphabet.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pattern.h"
#include "text/pre_tokenizer.h"
#include "text/regex_syntax.h"
#include "text/unicode.h"
#include "text/unicode_form.h"

namespace trireme::text {
namespace {

using Strings = std::vector<std::string>;

std::string normalized(const std::string& json, const std::string& text) {
  const Json document = parse_json(json, "test");
  StepBudget budget(text.size());
  std::string result = text;
  for (const auto& step : make_normalizers(JsonField(document, "test"))) {
    result = step->apply(std::move(result), budget);
  }
  return result;
}

Strings pieces(const std::string& json, const std::string& text) {
  const Json document = parse_json(json, "test");
  StepBudget budget(text.size());
  PreTokenized section;
  section.text = text;
  section.pieces = {{0, text.size()}};
  section.begins_input = true;
  for (const auto& step : make_pre_tokenizers(JsonField(document, "test"))) {
    step->apply(section, budget);
  }
  Strings found;
  for (const auto& piece : section.pieces) {
    found.emplace_back(section.text.substr(piece.begin, piece.end - piece.begin));
  }
  return found;
}

std::string split(const std::string& behavior, bool invert = false) {
  return cat(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")", behavior,
             R"(", "invert": )", invert ? "true" : "false", "}");
}

TEST(Unicode, FindsTheFirstByteThatIsNoUtf8) {
  EXPECT_EQ(invalid_utf8_offset("plain ascii, longer than a word \u00E9\u4E2D\U0001F600"),
            std::nullopt);
  const std::pair<std::string, std::size_t> cases[] = {{"\x80", 0},
                                                       {"12345678\xC0\x80", 8},
                                                       {"a\xE0\x80\x80", 1},
                                                       {"\xED\xA0\x80", 0},
                                                       {"\xF5\x80\x80\x80", 0},
                                                       {"ab\xF4\x90\x80\x80", 2},
                                                       {"\xE4\xBD", 0},
                                                       {"a\xFF", 1}};
  for (const auto& [text, offset] : cases) EXPECT_EQ(invalid_utf8_offset(text), offset) << offset;
}

TEST(Unicode, HoldsBackOnlyWhatMayStillBecomeACharacter) {
  const std::pair<std::string, std::size_t> cases[] = {{"", 0},
                                                       {"a", 1},
                                                       {"a\xE4", 1},
                                                       {"a\xE4\xBD", 1},
                                                       {"\u4F60", 3},
                                                       {"\xF0\x9F\x98", 0},
                                                       {"\xF0\x9F\x98\x80", 4},
                                                       {"\xE4\x41", 2},
                                                       {"\xED\xA0", 2},
                                                       {"\x80\x80", 2},
                                                       {"\xC3\xC3", 1},
                                                       {"\xFF", 1}};
  for (const auto& [text, size] : cases) EXPECT_EQ(complete_utf8_bytes(text), size) << text;
}

TEST(ByteAlphabet, WritesEveryByteAndReadsItBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  std::string characters;
  append_byte_characters(characters, bytes);

  EXPECT_EQ(bytes_of_characters(characters), bytes);
  EXPECT_EQ(byte_to_character(' '), "\u0120");
  EXPECT_EQ(byte_to_character('a'), "a");
  EXPECT_EQ(byte_to_character(0xAD), "\u0143");
  EXPECT_EQ(bytes_of_characters("a b"), std::nullopt);
}

TEST(RegexSyntax, WritesWhatTheSyntaxesSayDifferently) {
  EXPECT_EQ(to_pcre2_syntax(R"(\u4e00[\u4E01a]\\u)", "x"), R"(\x{4e00}[\x{4E01}a]\\u)");
  EXPECT_EQ(to_pcre2_syntax(R"(\h+[^]\h])", "x"), R"([0-9a-fA-F]+[^]0-9a-fA-F])");
  EXPECT_EQ(to_pcre2_syntax(R"([[:alpha:]\p{L}]\p{N}{1,3})", "x"), R"([[:alpha:]\p{L}]\p{N}{1,3})");
  EXPECT_THROW(to_pcre2_syntax("[a[b]]", "x"), Error);
  EXPECT_THROW(to_pcre2_syntax(R"([\w&&[^\d]])", "x"), Error);
  EXPECT_EQ(to_pcre2_syntax("a&&b", "x"), "a&&b");
  EXPECT_EQ(to_pcre2_syntax("[", "x"), "[");
  EXPECT_EQ(to_pcre2_syntax("[[:", "x"), "[[:");
  EXPECT_EQ(to_pcre2_syntax("\\", "x"), "\\");
}

TEST(Regex, StopsATextThatNeedsTooManySteps) {
  const Pattern pattern(Regex(R"((a|a)*\d)", "test"));
  const std::string text(60, 'a');
  StepBudget budget(text.size());

  try {
    pattern.find(text, budget, [](const Span&) {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string(error.what()).find(R"((a|a)*\d)"), std::string::npos);
  }
}

TEST(Regex, StopsATextThatNeedsQuadraticTime) {
  const Pattern pattern(Regex(R"(\p{L}+\d)", "test"));
  const std::string text(100'000, 'a');
  StepBudget budget(text.size());

  EXPECT_THROW(pattern.find(text, budget, [](const Span&) {}), Error);
}

TEST(Regex, SharesOneBudgetAmongAllPieces) {
  const Pattern pattern(Regex(R"((a|a)*\d)", "test"));
  const std::string text(18, 'a');
  StepBudget budget(text.size());

  EXPECT_NO_THROW(pattern.find(text, budget, [](const Span&) {}));
  EXPECT_THROW(
      {
        for (int piece = 0; piece < 1000; ++piece) pattern.find(text, budget, [](const Span&) {});
      },
      Error);
}

TEST(Normalizers, DoWhatTheirNamesSay) {
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "e\u0301"), "\u00E9");
  EXPECT_EQ(normalized(R"({"type": "NFD"})", "\u00E9"), "e\u0301");
  EXPECT_EQ(normalized(R"({"type": "NFKC"})", "\uFB01\uFF21"), "fiA");
  EXPECT_EQ(normalized(R"({"type": "NFKD"})", "\u00BD"), "1\u20442");
  EXPECT_EQ(normalized(R"({"type": "Lowercase"})", "\u0130\u03A3B"), "i\u0307\u03C3b");
  EXPECT_EQ(normalized(R"({"type": "StripAccents"})", "e\u0301a"), "ea");
  EXPECT_EQ(
      normalized(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " \u00A0a "),
      "a ");
  EXPECT_EQ(normalized(R"({"type": "Strip", "strip_left": true, "strip_right": true})", "  "), "");
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "_"})", "a"), "_a");
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "_"})", ""), "");
  EXPECT_EQ(
      normalized(R"({"type": "Replace", "pattern": {"Regex": " +"}, "content": "_"})", "a  b "),
      "a_b_");
  EXPECT_EQ(normalized(R"({"type": "ByteLevel"})", "a \u00E9"), "a\u0120\u00C3\u00A9");
  EXPECT_EQ(normalized(R"({"type": "Sequence", "normalizers": [
                             {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]})",
                       "\u00C9"),
            "e");
}

TEST(UnicodeForm, OfLongRunsOfMarksAgreesWithShortOnes) {
  // The same marks cut by letters are left to ICU, in a row they are sorted here.
  const std::string base = "A";
  const std::string marks = "\u0301\u0323\u0344\u0F73\u030A\u0F71\u0327\u0345";
  for (const UnicodeForm form :
       {UnicodeForm::nfc, UnicodeForm::nfd, UnicodeForm::nfkc, UnicodeForm::nfkd}) {
    const std::string letters = "\uFB01\uD55C\u1112\u1161\u11AB\u00E9\u0958\u212B e\u0301";
    std::string long_run;
    for (int idx = 0; idx < 20; ++idx) long_run += "\u0316";

    const std::string alone = to_unicode_form(letters + base + marks, form);
    const std::string with_run = to_unicode_form(
        letters + base + marks + "x" + long_run + long_run + long_run + long_run, form);

    EXPECT_EQ(with_run.substr(0, alone.size()), alone);
    EXPECT_EQ(with_run.substr(alone.size() + 1), long_run + long_run + long_run + long_run);
  }
}

TEST(UnicodeForm, SortsMillionsOfMarks) {
  std::string text = "a";
  for (int idx = 0; idx < 300'000; ++idx) text += "\u0301\u0323";

  const std::string composed = to_unicode_form(text, UnicodeForm::nfc);

  EXPECT_TRUE(composed.starts_with("\u1EA1\u0323\u0323"));
  EXPECT_TRUE(composed.ends_with("\u0301\u0301"));
}

TEST(PreTokenizers, SplitWithEveryBehavior) {
  const std::string text = "a--b-";
  EXPECT_EQ(pieces(split("Removed"), text), (Strings{"a", "b"}));
  EXPECT_EQ(pieces(split("Isolated"), text), (Strings{"a", "-", "-", "b", "-"}));
  EXPECT_EQ(pieces(split("MergedWithPrevious"), text), (Strings{"a-", "-", "b-"}));
  EXPECT_EQ(pieces(split("MergedWithNext"), text), (Strings{"a", "-", "-b", "-"}));
  EXPECT_EQ(pieces(split("Contiguous"), text), (Strings{"a", "--", "b", "-"}));
  EXPECT_EQ(pieces(split("Removed", true), text), (Strings{"-", "-", "-"}));
}

TEST(PreTokenizers, GiveNoEmptyPieces) {
  const auto split_at = [](const std::string& behavior) {
    return cat(R"({"type": "Split", "pattern": {"Regex": "x*"}, "behavior": ")", behavior, "\"}");
  };
  EXPECT_EQ(pieces(split_at("Isolated"), "axb"), (Strings{"a", "x", "b"}));
  EXPECT_EQ(pieces(split_at("MergedWithNext"), "abx"), (Strings{"a", "b", "x"}));
  EXPECT_EQ(pieces(split_at("MergedWithPrevious"), "abx"), (Strings{"a", "bx"}));
  EXPECT_EQ(pieces(split_at("Removed"), "xx"), (Strings{}));
}

TEST(PreTokenizers, DoWhatTheirNamesSay) {
  EXPECT_EQ(pieces(R"({"type": "Digits", "individual_digits": true})", "a12\u00BD"),
            (Strings{"a", "1", "2", "\u00BD"}));
  EXPECT_EQ(pieces(R"({"type": "Digits", "individual_digits": false})", "a12b"),
            (Strings{"a", "12", "b"}));
  EXPECT_EQ(pieces(R"({"type": "Punctuation"})", "a,$b"), (Strings{"a", ",", "$", "b"}));
  EXPECT_EQ(pieces(R"({"type": "Whitespace"})", " ab, c"), (Strings{"ab", ",", "c"}));
  EXPECT_EQ(pieces(R"({"type": "WhitespaceSplit"})", " ab,\tc "), (Strings{"ab,", "c"}));
  EXPECT_EQ(pieces(R"({"type": "Metaspace", "replacement": "_"})", "a b"), (Strings{"_a", "_b"}));
  EXPECT_EQ(pieces(R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false,
                       "split": false})",
                   "a b"),
            (Strings{"a_b"}));
  EXPECT_EQ(pieces(R"({"type": "ByteLevel", "add_prefix_space": true})", "a b's"),
            (Strings{" a", " b", "'s"}));
}

TEST(PreTokenizers, SeeTheByteAlphabetBehindAByteLevel) {
  EXPECT_EQ(pieces(R"({"type": "Sequence", "pretokenizers": [
                         {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
                         {"type": "Split", "pattern": {"String": "\u0120"}, "behavior": "Isolated"}]})",
                   "a \u00E9"),
            (Strings{"a", "\u0120", "\u00C3\u00A9"}));
}

/// The sections as "text" and "#id".
Strings sections(const std::vector<AddedToken>& tokens, const std::string& text) {
  Strings texts;
  for (const AddedToken& token : tokens) texts.push_back(token.content);
  std::vector<AddedTokenFinder::Section> found;
  AddedTokenFinder(tokens, texts, false).find(text, found);
  Strings result;
  for (const auto& section : found) {
    result.push_back(section.id >= 0 ? cat("#", section.id)
                                     : text.substr(section.begin, section.end - section.begin));
  }
  return result;
}

TEST(AddedTokens, TakeTheLongestAtTheFirstPlace) {
  EXPECT_EQ(
      sections({{.id = 1, .content = "ab"}, {.id = 2, .content = "abc"}, {.id = 3, .content = "b"}},
               "xabcabb"),
      (Strings{"x", "#2", "#1", "#3"}));
}

TEST(AddedTokens, StandAloneIfTheyAreSingleWords) {
  EXPECT_EQ(sections({{.id = 1, .content = "ab", .single_word = true}}, "ab xab ab. ab\u00E9 ab"),
            (Strings{"#1", " xab ", "#1", ". ab\u00E9 ", "#1"}));
}

TEST(AddedTokens, TakeWhiteSpaceAroundThem) {
  EXPECT_EQ(sections({{.id = 1, .content = "<x>", .lstrip = true, .rstrip = true}},
                     "a \n<x> \u00A0b <x>"),
            (Strings{"a", "#1", "b", "#1"}));
  EXPECT_EQ(sections({{.id = 1, .content = " ", .lstrip = true, .rstrip = true}}, "a   b"),
            (Strings{"a", "#1", "b"}));
  EXPECT_EQ(
      sections({{.id = 1, .content = "<x>", .rstrip = true}, {.id = 2, .content = " "}}, "<x>  b"),
      (Strings{"#1", "#2", "#2", "b"}));
}

/// What the tokens decode to, at once and token by token.
std::string decoded(const std::string& json, const Strings& tokens) {
  const Json document = parse_json(json, "test");
  const Decoder decoder(
      JsonField(document, "test"), static_cast<std::int32_t>(tokens.size()),
      [&](std::int32_t id) { return std::optional<std::string_view>(tokens[id]); });
  DecoderState state;
  std::string text;
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(tokens.size()); ++id) {
    decoder.push(id, state, text);
  }
  decoder.finish(state, text);
  return text;
}

std::string decoder_sequence(const std::string& steps) {
  return R"({"type": "Sequence", "decoders": [)" + steps + "]}";
}

TEST(Decoders, DoWhatTheirNamesSay) {
  EXPECT_EQ(decoded("null", {"a", "b"}), "a b");
  EXPECT_EQ(decoded(R"({"type": "ByteLevel"})", {"\u0120a", "\u00C3", "\u00A9", "a b"}),
            " a\u00E9"
            "a b");
  EXPECT_EQ(decoded(R"({"type": "ByteFallback"})", {"<0x41>", "<0xfF>", "<0xG0>", "<0x411>"}),
            "A\xFF<0xG0><0x411>");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"})",
                    {"_a_", "_b"}),
            "a b");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "never"})",
                    {"_a", "_b"}),
            " a b");
  EXPECT_EQ(decoded(R"({"type": "Strip", "content": "-", "start": 1, "stop": 2})", {"--a---", "-"}),
            "-a-");
  EXPECT_EQ(
      decoded(R"({"type": "Replace", "pattern": {"Regex": "[ab]"}, "content": "x"})", {"abc"}),
      "xxc");
}

TEST(Decoders, WorkOnTheWholeTextBehindAFuse) {
  const std::string strip =
      R"({"type": "Fuse"}, {"type": "Strip", "content": "\u2581", "start": 2, "stop": 1})";
  const std::string replace =
      R"({"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "aab"}, "content": "x"})";

  EXPECT_EQ(decoded(decoder_sequence(strip), {"\u2581", "\u2581\u2581", "a\u2581", "\u2581"}),
            "\u2581"
            "a\u2581");
  EXPECT_EQ(decoded(decoder_sequence(strip), {"a", "\u2581"}), "a");
  EXPECT_EQ(decoded(decoder_sequence(replace), {"a", "a", "a", "b", "aa"}), "axaa");
}

TEST(Decoders, GiveTheSameHoweverTheTextIsCut) {
  std::mt19937 random(3);
  const std::string steps = decoder_sequence(
      R"({"type": "Fuse"}, {"type": "Strip", "content": "a", "start": 2, "stop": 2},
         {"type": "Replace", "pattern": {"String": "aba"}, "content": "ca"},
         {"type": "Strip", "content": "c", "start": 1, "stop": 1})");
  for (int round = 0; round < 300; ++round) {
    std::string text;
    // Longer than what is stripped from both ends.
    for (int idx = 0; idx < 12; ++idx) text += "abc"[random() % 3];
    Strings parts;
    for (std::size_t begin = 0; begin < text.size(); begin += parts.back().size()) {
      parts.push_back(text.substr(begin, 1 + random() % 4));
    }

    EXPECT_EQ(decoded(steps, parts), decoded(steps, {text})) << text;
  }
}

}  // namespace
}  // namespace trireme::text
