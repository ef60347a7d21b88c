#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace trireme::config {

/// The message of the Error of that kind which `action` throws.
template <typename Action>
std::string refusal(ErrorKind kind, Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(exit_code(error.kind()), exit_code(kind)) << error.what();
    return error.what();
  }
  return "accepted";
}

inline void expect_in(const std::string& part, const std::string& text) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

}  // namespace trireme::config
