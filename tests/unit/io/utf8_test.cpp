#include "io/utf8.h"

#include <gtest/gtest.h>

namespace trireme::io {
namespace {

TEST(Utf8, TakesEveryLengthOfCharacter) {
  EXPECT_EQ(invalid_utf8_offset(""), std::nullopt);
  EXPECT_EQ(invalid_utf8_offset("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"), std::nullopt);
  EXPECT_EQ(invalid_utf8_offset("\xf4\x8f\xbf\xbf"), std::nullopt);  // U+10FFFF
}

TEST(Utf8, FindsTheFirstBadByte) {
  EXPECT_EQ(invalid_utf8_offset("ab\xff"), 2U);
  EXPECT_EQ(invalid_utf8_offset("ab\xc3"), 2U);            // cut
  EXPECT_EQ(invalid_utf8_offset("\xe2\x82"), 0U);          // cut
  EXPECT_EQ(invalid_utf8_offset("\xc0\xaf"), 0U);          // overlong
  EXPECT_EQ(invalid_utf8_offset("\xe0\x80\xaf"), 0U);      // overlong
  EXPECT_EQ(invalid_utf8_offset("x\xed\xa0\x80"), 1U);     // surrogate
  EXPECT_EQ(invalid_utf8_offset("\xf4\x90\x80\x80"), 0U);  // beyond U+10FFFF
  EXPECT_EQ(invalid_utf8_offset("\x80"), 0U);
}

TEST(Utf8, ReplacesWhatIsBad) {
  EXPECT_EQ(with_valid_utf8("a\xff"
                            "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(with_valid_utf8("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(with_valid_utf8("good"), "good");
}

}  // namespace
}  // namespace trireme::io
