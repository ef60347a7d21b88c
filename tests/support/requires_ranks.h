#pragma once

#include <gtest/gtest.h>

/// Skips a test that needs at least this many ranks in the communicator. All ranks skip alike.
#define TRIREME_REQUIRES_RANKS(comm, ranks)                                            \
  do {                                                                                 \
    if ((comm).size() < (ranks))                                                       \
      GTEST_SKIP() << "needs " << (ranks) << " ranks, started with " << (comm).size(); \
  } while (false)
