#include "text/scanners.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>
#include <utility>

#include "base/json.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

void collect_patterns(const Json& value, std::vector<std::string>& patterns) {
  for (const auto& item : value.items()) {
    if (item.key() == "Regex") {
      patterns.push_back(item.value());
    } else if (item.value().is_structured()) {
      collect_patterns(item.value(), patterns);
    }
  }
}

/// Of the published files, and other spellings.
std::vector<std::string> known_patterns() {
  std::vector<std::string> patterns = {
      std::string(kGpt2Pattern),
      R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
      R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"(\p{N})"};
  for (const char* name : {"deepseek_v3", "llama3", "o200k", "qwen2"}) {
    std::ifstream file(std::string(TRIREME_TEST_DATA) + "/tokenizers/" + name + "/tokenizer.json");
    std::stringstream text;
    text << file.rdbuf();
    collect_patterns(parse_json(text.str(), name).at("pre_tokenizer"), patterns);
  }
  return patterns;
}

/// Code points of every class, those that patterns treat apart more often than others.
std::string random_text(std::mt19937& random) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x00, 0x7F},     {0x80, 0xFF},       {0x1C0, 0x1F4},     {0x2B0, 0x2D0},
      {0x300, 0x330},   {0x370, 0x3FF},     {0x400, 0x45F},     {0x5D0, 0x5EA},
      {0x620, 0x66A},   {0x900, 0x970},     {0xE00, 0xE5B},     {0x1680, 0x1680},
      {0x180B, 0x180E}, {0x2000, 0x206F},   {0x20A0, 0x20AC},   {0x2150, 0x218B},
      {0x2200, 0x22FF}, {0x2460, 0x2473},   {0x3000, 0x30FF},   {0x4DFE, 0x4E10},
      {0x9F90, 0x9FA8}, {0xAC00, 0xAC50},   {0xD7FB, 0xD7FF},   {0xE000, 0xE001},
      {0xFF00, 0xFF60}, {0x1D400, 0x1D4FF}, {0x1F600, 0x1F64F}, {0x10FFFF, 0x10FFFF}};
  constexpr char32_t kFrequent[] = {' ', ' ', '\n',  '\r', '\t',  '\'',  's',  'T', 'l', 'L',
                                    'r', 'e', 'V',   'd',  'M',   'a',   'B',  '1', '2', '/',
                                    '.', '!', 0x17F, 0xAA, 0x1C5, 0x301, 0xA0, 0x85};
  std::string text;
  const int num_characters = std::uniform_int_distribution(0, 24)(random);
  for (int idx = 0; idx < num_characters; ++idx) {
    char32_t c = 0;
    if (random() % 4 != 0) {
      c = kFrequent[random() % std::size(kFrequent)];
    } else {
      const auto [first, last] = kRanges[random() % std::size(kRanges)];
      c = std::uniform_int_distribution<char32_t>(first, last)(random);
    }
    const int times = random() % 16 == 0 ? 5 : 1;
    for (int count = 0; count < times; ++count) append_utf8(text, c);
  }
  return text;
}

/// The spans as "0=3 3-5 ".
std::string found_by(const Pattern& pattern, const std::string& text) {
  StepBudget budget(text.size());
  std::ostringstream out;
  pattern.find(text, budget, [&](const Span& span) {
    out << span.begin << (span.is_match ? "=" : "-") << span.end << " ";
  });
  return out.str();
}

TEST(Scanners, FindWhatTheirExpressionsFind) {
  std::mt19937 random(20240607);
  for (const std::string& source : known_patterns()) {
    const Scanner scanner = known_scanner(source);
    ASSERT_NE(scanner, nullptr) << source;
    const Pattern scanned(scanner);
    const Pattern expression(Regex(source, "test"));
    for (int round = 0; round < 4000; ++round) {
      const std::string text = random_text(random);

      ASSERT_EQ(found_by(scanned, text), found_by(expression, text)) << source << "\n" << text;
    }
  }
}

TEST(Scanners, CutSingleCharactersByClass) {
  struct Case {
    Scanner scanner;
    const char* expression;
  };
  std::mt19937 random(5);
  for (const Case& item :
       {Case{scan_one_number, R"(\p{N})"}, Case{scan_one_space, R"(\s)"},
        Case{scan_one_punctuation, R"([\p{P}$+<=>^`|~])"},
        Case{scan_words,
             R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\s]+)"}}) {
    const Pattern expression(Regex(item.expression, "test"));
    for (int round = 0; round < 1000; ++round) {
      const std::string text = random_text(random);

      // Only the scanner counts the zero-width joiners among the word characters.
      if (text.find("\u200C") != std::string::npos || text.find("\u200D") != std::string::npos) {
        continue;
      }
      ASSERT_EQ(found_by(Pattern(item.scanner), text), found_by(expression, text))
          << item.expression << "\n"
          << text;
    }
  }
}

TEST(Scanners, AreKnownByTheExactExpressionOnly) {
  EXPECT_EQ(known_scanner(R"(\p{L}+)"), nullptr);
  EXPECT_EQ(known_scanner(""), nullptr);
}

}  // namespace
}  // namespace trireme::text
