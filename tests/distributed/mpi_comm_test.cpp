#include "comm/mpi_comm.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "support/requires_ranks.h"

namespace trireme::comm {
namespace {

template <typename T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

TEST(MpiComm, ReducesSmallValues) {
  const MpiComm world = MpiComm::world();
  const std::int64_t rank = world.rank(), size = world.size(), big = std::int64_t{1} << 40;
  std::array<double, 2> doubles = {0.5, static_cast<double>(rank)};
  std::array<std::int64_t, 1> integers = {big};

  EXPECT_EQ(world.min(big + rank), big);
  EXPECT_EQ(world.max(big + rank), big + size - 1);
  EXPECT_EQ(world.sum(big), big * size);
  world.sum(doubles);
  world.sum(integers);

  EXPECT_EQ(doubles[0], 0.5 * static_cast<double>(size));
  EXPECT_EQ(doubles[1], static_cast<double>(size * (size - 1)) / 2);
  EXPECT_EQ(integers[0], big * size);
}

TEST(MpiComm, GathersTextsOfAnyLength) {
  const MpiComm world = MpiComm::world();
  const auto text_of = [](int rank) {
    return std::string(static_cast<std::size_t>(rank * 5), 'a');
  };

  const std::vector<std::string> texts = world.all_gather(text_of(world.rank()));

  EXPECT_EQ(texts.size(), static_cast<std::size_t>(world.size()));
  for (int r = 0; r < world.size(); ++r)
    EXPECT_EQ(texts.at(static_cast<std::size_t>(r)), text_of(r));
}

TEST(MpiComm, BroadcastsTextsAndBytesFromAnyRoot) {
  const MpiComm world = MpiComm::world();
  for (int root = 0; root < world.size(); ++root) {
    const std::string text = cat("from ", root, std::string(70000, 'x'));
    std::vector<std::byte> bytes(3000001, std::byte(world.rank()));

    EXPECT_EQ(world.broadcast(world.rank() == root ? text : "mine", root), text);
    EXPECT_EQ(world.broadcast(std::string(world.rank() == root ? "" : "mine"), root), "");
    world.broadcast(bytes, root);
    EXPECT_EQ(bytes.front(), std::byte(root));
    EXPECT_EQ(bytes.back(), std::byte(root));
  }
}

TEST(MpiComm, SplitsByColorInTheOrderOfKeys) {
  const MpiComm world = MpiComm::world();

  const MpiComm half = world.split(world.rank() % 2, -world.rank());

  const int members = (world.size() - world.rank() % 2 + 1) / 2;
  EXPECT_EQ(half.size(), members);
  EXPECT_EQ(half.rank(), members - 1 - world.rank() / 2);
}

TEST(MpiComm, ANegativeColorGivesAnEmptyCommunicator) {
  const MpiComm world = MpiComm::world();

  const MpiComm first = world.split(world.rank() == 0 ? 0 : -1, 0);

  EXPECT_EQ(static_cast<bool>(first), world.rank() == 0);
}

TEST(MpiComm, MovingEmptiesTheSource) {
  MpiComm source = MpiComm::world();

  const MpiComm target = std::move(source);

  EXPECT_TRUE(target);
  EXPECT_FALSE(source);  // NOLINT: reading a moved-from handle is the point
}

TEST(MpiComm, NodeHoldsTheRanksThatShareMemory) {
  const MpiComm world = MpiComm::world();

  const MpiComm node = world.split_by_node();

  EXPECT_GE(node.size(), 1);
  EXPECT_EQ(node.min(world.rank()) == world.rank(), node.rank() == 0);
}

TEST(MpiComm, MessagesKeepTheirOrderAndTagsApart) {
  const MpiComm world = MpiComm::world();
  TRIREME_REQUIRES_RANKS(world, 2);
  const int next = (world.rank() + 1) % world.size();
  const int previous = (world.rank() + world.size() - 1) % world.size();
  std::array<int, 3> out = {10 + world.rank(), 20 + world.rank(), 30 + world.rank()}, in{};
  std::vector<HostRequest> requests;

  requests.push_back(world.receive(bytes_of(in[2]), previous, 8));
  requests.push_back(world.receive(bytes_of(in[0]), previous, 7));
  requests.push_back(world.receive(bytes_of(in[1]), previous, 7));
  requests.push_back(world.send(bytes_of(out[0]), next, 7));
  requests.push_back(world.send(bytes_of(out[1]), next, 7));
  requests.push_back(world.send(bytes_of(out[2]), next, 8));
  for (HostRequest& request : requests) request.wait();

  EXPECT_EQ(in, (std::array<int, 3>{10 + previous, 20 + previous, 30 + previous}));
  for (const HostRequest& request : requests) EXPECT_FALSE(request.is_active());
}

TEST(MpiComm, ProbeTellsSourceAndSizeOfAnArrivedMessage) {
  const MpiComm world = MpiComm::world();
  TRIREME_REQUIRES_RANKS(world, 2);
  MpiComm::Arrived arrived;
  if (world.rank() == 1) {
    std::array<std::byte, 12> message{};
    world.send(message, 0, 3).wait();
  } else if (world.rank() == 0) {
    while (!world.probe(-1, 3, arrived)) {
    }
    EXPECT_EQ(arrived.from, 1);
    EXPECT_EQ(arrived.size_bytes, 12U);
    std::vector<std::byte> message(arrived.size_bytes);
    world.receive(message, arrived.from, 3).wait();
  }
  world.barrier();
  EXPECT_FALSE(world.probe(-1, 3, arrived));
}

TEST(MpiComm, WaitingCallsWhatIsToBeDoneMeanwhile) {
  const MpiComm world = MpiComm::world();
  TRIREME_REQUIRES_RANKS(world, 2);
  if (world.rank() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  int calls = 0;

  HostRequest request = world.begin_barrier();
  request.wait([&] { ++calls; });

  if (world.rank() == 0) {
    EXPECT_GT(calls, 0);
  }
}

TEST(MpiComm, GathersHeadersWithoutBlocking) {
  const MpiComm world = MpiComm::world();
  std::int64_t header = 7 + world.rank();
  std::vector<std::int64_t> headers(static_cast<std::size_t>(world.size()));

  HostRequest request =
      world.begin_all_gather(bytes_of(header), std::as_writable_bytes(std::span(headers)));
  request.wait();

  std::vector<std::int64_t> expected(headers.size());
  std::iota(expected.begin(), expected.end(), 7);
  EXPECT_EQ(headers, expected);
}

TEST(MpiComm, AnExceptionDoesNotWaitForMessagesThatNeverCome) {
  const MpiComm world = MpiComm::world();
  TRIREME_REQUIRES_RANKS(world, 2);
  int never = 0;
  try {
    const HostRequest request =
        world.receive(bytes_of(never), (world.rank() + 1) % world.size(), 5);
    fail(ErrorKind::io, "disk full");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
  }
}

TEST(MpiComm, ErrorsOfMpiAreErrors) {
  const MpiComm world = MpiComm::world();
  int value = 0;
  try {
    world.send(bytes_of(value), world.size(), 0);
    ADD_FAILURE() << "sent to a rank that does not exist";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::mpi);
  }
}

}  // namespace
}  // namespace trireme::comm
