#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

std::string refusal(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, "x.json", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "accepted";
}

TEST(ParseJson, KeepsTheOrderOfKeysAndValues) {
  EXPECT_EQ(parse_json(R"({"b":1,"a":[true,null,-2,1.5,"x"]})", "x").dump(),
            R"({"b":1,"a":[true,null,-2,1.5,"x"]})");
}

TEST(ParseJson, RefusesIntegersBeyond64BitsIfAsked) {
  const JsonLimits exact{.exact_integers = true};

  EXPECT_NE(refusal("[18446744073709551616]", exact).find("18446744073709551616 is beyond"),
            std::string::npos);
  EXPECT_EQ(refusal("[18446744073709551616]"), "accepted");
  EXPECT_EQ(refusal("[18446744073709551615, -9223372036854775808, 1e100, 2.0]", exact), "accepted");
}

TEST(ParseJson, RefusesWhatIsNotADocument) {
  EXPECT_NE(refusal("{\"a\":1,\"a\":2}").find("x.json: key \"a\" stands twice"), std::string::npos);
  EXPECT_EQ(refusal("[1,]"),
            "x.json: not JSON: line 1, column 4: in value: unexpected ']'; expected '[', '{', or a "
            "literal");
  EXPECT_NE(refusal("[1] 2").find("not JSON"), std::string::npos);
  EXPECT_NE(refusal("\"\xff\"").find("not JSON"), std::string::npos);
  EXPECT_NE(refusal("").find("not JSON"), std::string::npos);
  EXPECT_NE(refusal(std::string(100000, '[')).find("deeper than 64"), std::string::npos);
  EXPECT_NE(refusal("[1]", {.max_bytes = 2}).find("3 bytes, at most 2"), std::string::npos);
}

}  // namespace
}  // namespace trireme
