// Messages between two ranks, beside collectives and on several communicators at once.

#include "base/error.h"
#include "comm_fixture.h"

namespace trireme::test {
namespace {

using Pending = std::vector<std::unique_ptr<comm::Transfer>>;

void wait_for(Pending& transfers) {
  for (auto& transfer : transfers) transfer->wait();
  transfers.clear();
}

class CommPointToPoint : public CommConformance {
 protected:
  int next() const { return (rank() + 1) % size(); }
  int previous() const { return (rank() + size() - 1) % size(); }
};

TEST_P(CommPointToPoint, MessagesArriveInTheOrderTheyWereSent) {
  if (size() == 1) GTEST_SKIP() << "needs 2 ranks";
  // Small and large ones take different ways and must not overtake each other.
  const std::vector<std::int64_t> sizes = {1, 200000, 3, 50000, 0, 7, 100000, 2};
  std::vector<std::vector<float>> sent, received;
  Pending transfers;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    sent.push_back(samples<float>(i, rank(), sizes[i]));
    received.emplace_back(static_cast<std::size_t>(sizes[i]));
  }

  for (auto& message : sent) transfers.push_back(comm().send(view(message), next()));
  for (auto& message : received) transfers.push_back(comm().receive(view(message), previous()));
  wait_for(transfers);

  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(same_bits(received[i], samples<float>(i, previous(), sizes[i]))) << "message " << i;
  }
}

TEST_P(CommPointToPoint, ReceiveMayBePostedBeforeAndTestedUntilItArrives) {
  if (size() == 1) GTEST_SKIP() << "needs 2 ranks";
  std::vector<std::int64_t> in(3), out = {rank(), 10, 20};
  const auto receiving = comm().receive(view(in), previous());
  comm().barrier();

  const auto sending = comm().send(view(out), next());
  while (!receiving->test()) {
  }
  EXPECT_TRUE(receiving->test());
  receiving->wait();
  sending->wait();

  EXPECT_EQ(in, (std::vector<std::int64_t>{previous(), 10, 20}));
}

TEST_P(CommPointToPoint, DestroyingATransferCompletesIt) {
  if (size() == 1) GTEST_SKIP() << "needs 2 ranks";
  std::vector<float> in(100000), out = samples<float>(1, rank(), 100000);
  {
    const auto receiving = comm().receive(view(in), previous());
    const auto sending = comm().send(view(out), next());
  }

  EXPECT_TRUE(same_bits(in, samples<float>(1, previous(), 100000)));
}

TEST_P(CommPointToPoint, AnExceptionDoesNotWaitForMessagesThatNeverCome) {
  if (size() == 1) GTEST_SKIP() << "needs 2 ranks";
  std::vector<float> in(100000);
  try {
    const auto receiving = comm().receive(view(in), previous());
    fail(ErrorKind::io, "disk full");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
  }
}

TEST_P(CommPointToPoint, CollectivesRunWhileMessagesOfTheSameGroupAreUnderWay) {
  if (size() == 1) GTEST_SKIP() << "needs 2 ranks";
  std::vector<float> in(60000), out = samples<float>(2, rank(), 60000);
  Pending transfers;
  transfers.push_back(comm().receive(view(in), previous()));

  std::vector<float> sums = {1};
  comm().all_reduce(view(sums));
  transfers.push_back(comm().send(view(out), next()));
  comm().all_reduce(view(sums));
  wait_for(transfers);

  EXPECT_EQ(sums[0], static_cast<float>(size() * size()));
  EXPECT_TRUE(same_bits(in, samples<float>(2, previous(), 60000)));
}

TEST_P(CommPointToPoint, SeveralCommunicatorsDoNotDisturbEachOther) {
  if (size() == 1) GTEST_SKIP() << "needs 2 ranks";
  const auto first = comm::make_communicator(comm::MpiComm::world(), GetParam());
  const auto second = comm::make_communicator(comm::MpiComm::world(), GetParam());
  std::vector<std::int32_t> in_first = {-1}, in_second = {-1}, out_first = {100 + rank()},
                            out_second = {200 + rank()};
  Pending transfers;
  transfers.push_back(first->receive(view(in_first), previous()));
  transfers.push_back(second->receive(view(in_second), previous()));

  // Sent the other way round.
  transfers.push_back(second->send(view(out_second), next()));
  std::vector<float> sums = {1};
  comm().all_reduce(view(sums));
  transfers.push_back(first->send(view(out_first), next()));
  wait_for(transfers);

  EXPECT_EQ(in_first[0], 100 + previous());
  EXPECT_EQ(in_second[0], 200 + previous());
  EXPECT_EQ(sums[0], static_cast<float>(size()));
}

INSTANTIATE_TEST_SUITE_P(Backends, CommPointToPoint, testing::Values("mpi"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace trireme::test
