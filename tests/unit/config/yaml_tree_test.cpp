#include "config/yaml_tree.h"

#include <gtest/gtest.h>

#include <random>

#include "config/yaml_loader.h"
#include "refusal.h"

namespace trireme::config {
namespace {

std::string repeated(const std::string& part, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += part;
  return text;
}

std::string refused(const std::string& text) {
  return refusal(ErrorKind::config, [&text] { parse_yaml(text, "c.yaml"); });
}

TEST(ParseYaml, KeepsKindsLinesAndQuotes) {
  const YamlNode root = parse_yaml("a: 1\nb: ['x', ~]\nc:\n  d: \"2\"\n", "c.yaml");

  ASSERT_TRUE(root.is_map());
  ASSERT_EQ(root.keys.size(), 3u);
  EXPECT_EQ(root.keys[2].name, "c");
  EXPECT_EQ(root.keys[2].line, 3);
  EXPECT_EQ(root.items[0].text, "1");
  EXPECT_FALSE(root.items[0].quoted);
  EXPECT_EQ(root.items[1].kind, YamlNode::Kind::list);
  EXPECT_TRUE(root.items[1].items[0].quoted);
  EXPECT_EQ(root.items[1].items[1].kind, YamlNode::Kind::null);
  EXPECT_TRUE(root.items[2].items[0].quoted);
  EXPECT_EQ(root.items[2].items[0].line, 4);
}

TEST(ParseYaml, AcceptsWhatIsAtTheLimits) {
  const std::string deep = "a: " + repeated("[", 63) + repeated("]", 63);
  EXPECT_EQ(refused(deep), "accepted");

  const std::string long_text = "a: " + std::string(kMaxYamlBytes - 3, 'x');
  EXPECT_EQ(refused(long_text), "accepted");
  EXPECT_EQ(refused("a: 1\n# \t a tab in a comment\nb:\t2\n"), "accepted");
  EXPECT_EQ(refused("\xEF\xBB\xBF"
                    "a: \xC3\xA9\xF0\x9F\x98\x80\r\n"),
            "accepted");
  EXPECT_EQ(refused("--- \na: 1\n...\n"), "accepted");
}

struct Hostile {
  const char* what;
  std::string text;
  std::string expected;  ///< part of the message
};

std::vector<Hostile> hostile_texts() {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char name = 'b'; name <= 'i'; ++name) {
    const std::string before = cat("*", static_cast<char>(name - 1));
    bomb += cat(name, ": &", name, " [", repeated(before + ", ", 8), before, "]\n");
  }
  return {
      {"alias bomb", bomb, "line 1: an anchor or alias"},
      {"anchor on a map", "a: &x\n  b: 1\n", "line 1: an anchor or alias"},
      {"anchor on nothing", "a: &x\nb: 1\n", "an anchor or alias"},
      {"anchor on a key", "&x a: 1\n", "an anchor or alias"},
      {"alias to nothing", "a: *x\n", "c.yaml line 1: "},
      {"merge key", "a: &x {b: 1}\nc:\n  <<: *x\n", "an anchor or alias"},
      {"tag", "a: !!python/object:os.system x\n", "line 1: a tag"},
      {"tag on a list", "a: !x [1]\n", "line 1: a tag"},
      {"64 lists in a map", "a: " + repeated("[", 64) + repeated("]", 64), "deeper than 64 levels"},
      {"200,000 lists", repeated("[", 200000), "c.yaml line 1: "},
      {"200,000 flow maps", repeated("{a: ", 200000), "c.yaml line 1: "},
      {"200,000 block lists", repeated("- ", 200000), "deeper than 64 levels"},
      {"200,000 explicit keys", repeated("? ", 200000), "c.yaml line 1: "},
      {"lists and maps in turn", repeated("[a: ", 200000), "c.yaml line 1: "},
      {"100,000 closing brackets", repeated("]", 100000), "not YAML"},
      {"100,000 tags", repeated("!", 100000), "c.yaml line 1: "},
      {"100,000 ampersands", repeated("&", 100000), "c.yaml line 1: "},
      {"100,000 questions", repeated("?\n", 100000), "more than 100000 values"},
      {"too many values", "a: [" + repeated("1,", 200000) + "]", "more than 100000 values"},
      {"two documents", "a: 1\n---\na: 2\n", "line 2: a second document"},
      {"a document after an end", "a: 1\n...\nb: 2\n", "a second document"},
      {"2 MiB", "a: " + std::string(2 << 20, 'x'), "2097155 bytes, expected at most 1048576"},
      {"NUL byte", std::string("a: 1\0b: 2\n", 10), "control character (byte 0)"},
      {"end of text inside",
       "a: 1\n\x04"
       "b: 2\n",
       "line 2: a control character (byte 4)"},
      {"UTF-16",
       std::string("\xff\xfe"
                   "a\0:\0",
                   6),
       "byte 255 is no UTF-8"},
      {"bad UTF-8", "a: \xc3\x28\n", "byte 195 is no UTF-8"},
      {"overlong UTF-8", "a: \xc0\xaf\n", "byte 192 is no UTF-8"},
      {"surrogate", "a: \xed\xa0\x80\n", "byte 237 is no UTF-8"},
      {"UTF-8 cut off", "a: \xf0\x9f\x98", "byte 240 is no UTF-8"},
      {"tab as indentation", "a:\n\tb: 1\n", "line 2: a tab in the indentation"},
      {"spaces and a tab", "a:\n  \tb: 1\n", "line 2: a tab in the indentation"},
      {"list as a key", "[a, b]: 1\n", "a list or map as a key"},
      {"map as a key", "{a: 1}: 1\n", "a list or map as a key"},
      {"open quote", "a: \"x\n", "not YAML"},
      {"open quote over lines", "a: 'x\nb: 1\n\n", "not YAML"},
      {"open list", "a: [1, 2\nb: 3\n", "not YAML"},
      {"unindented value", "a:\n  b: 1\n c: 2\n", "not YAML"},
      {"bad escape", "a: \"\\q\"\n", "not YAML"},
      {"unknown directive", "%TAG ! x\n%TAG ! y\n---\na: 1\n", "c.yaml line"},
      {"YAML of the future", "%YAML 9.9\n---\na: 1\n", "c.yaml line"},
      {"at sign", "a: @x\n", "not YAML"},
  };
}

TEST(ParseYaml, RefusesHostileTextsByNameAndLine) {
  for (const Hostile& hostile : hostile_texts()) {
    SCOPED_TRACE(hostile.what);
    expect_in(hostile.expected, refused(hostile.text));
    expect_in("c.yaml", refused(hostile.text));
  }
}

TEST(ParseYaml, SurvivesMutations) {
  const std::string seed =
      "tensor_parallel_size: 8\nkv_cache_config: {dtype: auto, tokens_per_block: 16}\n"
      "stop: [\"a\\n\", 'b', |\n  c\n  ]\npp_partition:\n  - 1\n  - 2\n? x\n: >-\n  y\n# end\n";
  const std::string alphabet = "{}[]:-?,|>&*!%@`'\"#~ \n\t\\=<.0x\r";
  std::mt19937 random(1);
  const auto below = [&random](std::size_t limit) { return random() % limit; };
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string text = seed;
    for (std::size_t change = 0, changes = 1 + below(8); change < changes; ++change) {
      const std::size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = alphabet[below(alphabet.size())];
          break;
        case 1:
          text.insert(at, 1, alphabet[below(alphabet.size())]);
          break;
        case 2:
          text.erase(at, 1 + below(4));
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(20)));
      }
      if (text.empty()) text.push_back(alphabet[0]);
    }
    try {
      Loaded loaded;
      apply_yaml(text, "c.yaml", loaded);
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::config) << error.what();
    }
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 4950);
}

}  // namespace
}  // namespace trireme::config
