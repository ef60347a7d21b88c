#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace trireme::test {

/// The message of the Error that `action` throws, which must be of this kind; "accepted" if it
/// throws none.
template <typename Action>
std::string refusal(ErrorKind kind, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  return "accepted";
}

}  // namespace trireme::test

/// The text contains the words.
#define TRIREME_EXPECT_CONTAINS(text, words) \
  EXPECT_NE(std::string(text).find(words), std::string::npos) << "in: " << (text)
