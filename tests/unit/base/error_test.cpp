#include "base/error.h"

#include <gtest/gtest.h>

#include "base/nearest.h"

namespace trireme {
namespace {

TEST(Error, CarriesKindAndExitCode) {
  try {
    fail(ErrorKind::config, cat("tensor_parallel_size is ", 3));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::config);
    EXPECT_STREQ(error.what(), "tensor_parallel_size is 3");
    EXPECT_EQ(exit_code(error.kind()), 78);
  }
}

TEST(Check, NamesConditionAndValues) {
  const int a = 1;
  try {
    TRIREME_CHECK(a == 2, "a=", a);
    ADD_FAILURE() << "did not throw";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'a == 2' does not hold (a=1)"), std::string::npos);
  }
}

TEST(NearestName, FindsATypoAndNothingElse) {
  const std::vector<std::string> keys = {"max_tokens", "temperature"};

  EXPECT_EQ(nearest_name("max_token", keys), "max_tokens");
  EXPECT_EQ(nearest_name("zzzzzzzz", keys), "");
  EXPECT_EQ(nearest_name("1", {"n"}), "");
  EXPECT_EQ(nearest_name("<<", {"n"}), "");
  EXPECT_EQ(nearest_name("", {"n"}), "");
  EXPECT_EQ(nearest_name("nn", {"n"}), "n");
}

}  // namespace
}  // namespace trireme
