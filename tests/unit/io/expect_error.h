#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

namespace trireme::test {

/// Expects that `call` throws Error of this kind whose message holds all of `parts`.
inline void expect_error(ErrorKind kind, const std::vector<std::string>& parts,
                         const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "no error, expected one with " << parts.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "\"" << error.what() << "\" does not hold \"" << part << "\"";
    }
  }
}

}  // namespace trireme::test
