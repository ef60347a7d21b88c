#include "config/options.h"

#include <gtest/gtest.h>

#include "refusal.h"

namespace trireme::config {
namespace {

using Words = std::vector<std::string>;

Syntax import_syntax() {
  Syntax syntax;
  syntax.command = "prompts import";
  syntax.summary = "Makes a prompt file of a text file.";
  syntax.examples = {"trireme prompts import in.jsonl out.h5"};
  syntax.arguments = {"IN", "OUT.h5"};
  syntax.flags = {{"limit", "N", "rows", "only the first N rows"},
                  {"overwrite", "", "files", "replace OUT.h5"},
                  {"name", "TEXT", "files", "a name"}};
  return syntax;
}

Options parsed(const Words& words) { return parse_options(import_syntax(), words); }

std::string refused(const Words& words) {
  return refusal(ErrorKind::usage, [&words] { parsed(words); });
}

TEST(ParseOptions, TakesFlagsAndArgumentsInAnyOrder) {
  const Options options = parsed({"--overwrite", "a.txt", "--limit=3", "b.h5", "--name", "x"});

  EXPECT_TRUE(options.has("overwrite"));
  EXPECT_EQ(options.whole("limit", 1, 10), 3);
  EXPECT_EQ(options.value("name"), "x");
  EXPECT_EQ(options.argument(0), "a.txt");
  EXPECT_EQ(options.argument(1), "b.h5");
  EXPECT_FALSE(options.help());
}

TEST(ParseOptions, LetsTheLastOneWinAndSwitchesBeOff) {
  const Options options = parsed({"--limit", "1", "--limit", "2", "--overwrite=false", "a", "b"});

  EXPECT_EQ(options.whole("limit", 1, 10), 2);
  EXPECT_FALSE(options.has("overwrite"));
  EXPECT_EQ(options.given().size(), 3u);
  EXPECT_EQ(options.value("name", "fallback"), "fallback");
}

TEST(ParseOptions, GivesAFlagAllItsValues) {
  Syntax syntax;
  syntax.command = "eplb plan";
  syntax.flags = {{"loads", "FILE...", "Input", "files"}, {"seed", "N", "Input", "a seed"}};

  const Options options =
      parse_options(syntax, {"--loads", "a", "b", "--seed", "1", "--loads=c", "d"});

  EXPECT_EQ(options.values("loads"), (Words{"a", "b", "c", "d"}));
  EXPECT_EQ(options.whole("seed", 0, 9), 1);
  const std::string message = refusal(ErrorKind::usage, [&] {
    parse_options(syntax, {"--seed", "1", "x"});
  });
  expect_in("'x' is one argument too many", message);
}

TEST(ParseOptions, LetsArgumentsInBracketsBeAway) {
  Syntax syntax;
  syntax.command = "eplb show";
  syntax.arguments = {"LOADS", "[PLACEMENT]"};

  EXPECT_EQ(parse_options(syntax, {"a"}).num_arguments(), 1u);
  EXPECT_EQ(parse_options(syntax, {"a", "b"}).argument(1), "b");
  expect_in("LOADS is missing", refusal(ErrorKind::usage, [&] { parse_options(syntax, {}); }));
  expect_in("too many", refusal(ErrorKind::usage, [&] { parse_options(syntax, {"a", "b", "c"}); }));
}

TEST(ParseOptions, EndsFlagsAtTwoDashes) {
  const Options options = parsed({"--", "--overwrite", "-x"});

  EXPECT_FALSE(options.has("overwrite"));
  EXPECT_EQ(options.argument(0), "--overwrite");
  EXPECT_EQ(options.argument(1), "-x");
}

TEST(ParseOptions, NamesEveryUnknownFlagWithTheNearest) {
  const std::string message = refused({"--overwrit", "--limits=3", "-q", "a", "b"});

  EXPECT_EQ(message,
            "trireme prompts import: unknown flag --overwrit, expected --overwrite?; unknown flag "
            "--limits, expected --limit?; unknown flag -q (see trireme prompts import --help)");
  expect_in("unknown flag --lim, expected --limit?", refused({"--lim", "1", "a", "b"}));
}

TEST(ParseOptions, RefusesBadCommandLines) {
  expect_in("IN is missing", refused({}));
  expect_in("OUT.h5 is missing", refused({"a"}));
  expect_in("'c' is one argument too many, expected 2", refused({"a", "b", "c"}));
  expect_in("'--limit'", refused({"a", "b", "--limit"}));
  expect_in("the value of --limit is missing before --overwrite",
            refused({"a", "b", "--limit", "--overwrite"}));
  expect_in("--overwrite is 'maybe', expected true or false", refused({"--overwrite=maybe"}));
}

TEST(ParseOptions, ChecksWholeNumbers) {
  for (const char* text : {"0", "11", "-1", "1.5", "x", "99999999999999999999"}) {
    const Options options = parsed({"--limit", text, "a", "b"});
    expect_in(cat("--limit is '", text, "', expected a whole number from 1 to 10"),
              refusal(ErrorKind::usage, [&options] { options.whole("limit", 1, 10); }));
  }
  EXPECT_EQ(parsed({"a", "b"}).whole("limit", 1, 10), std::nullopt);
}

TEST(ParseOptions, AsksForHelpWhateverElseIsThere) {
  EXPECT_TRUE(parsed({"--help"}).help());
  EXPECT_TRUE(parsed({"-h", "--nonsense"}).help());
}

TEST(HelpText, ShowsFlagsByTopic) {
  EXPECT_EQ(help_text(import_syntax()),
            "usage: trireme prompts import [flags] IN OUT.h5\n"
            "\n"
            "Makes a prompt file of a text file.\n"
            "\n"
            "example\n"
            "  trireme prompts import in.jsonl out.h5\n"
            "\n"
            "rows\n"
            "  --limit N                             only the first N rows\n"
            "\n"
            "files\n"
            "  --overwrite                           replace OUT.h5\n"
            "  --name TEXT                           a name\n");
}

}  // namespace
}  // namespace trireme::config
