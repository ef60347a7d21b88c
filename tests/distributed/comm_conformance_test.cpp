// What every backend of the data plane must do. Each rank knows what all others hold, so that it
// compares with a serial sum of its own: equal bits everywhere follow.

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "comm/mpi/mpi_communicator.h"
#include "comm_fixture.h"

namespace trireme::test {
namespace {

/// Σ over the ranks in order, in float32, rounded once.
template <typename T>
std::vector<T> ordered_sum(std::uint64_t seed, int num_ranks, std::int64_t num_elements) {
  std::vector<float> sums(static_cast<std::size_t>(num_elements));
  for (int r = 0; r < num_ranks; ++r) {
    const std::vector<T> part = samples<T>(seed, r, num_elements);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] = r == 0 ? static_cast<float>(part[i]) : sums[i] + static_cast<float>(part[i]);
    }
  }
  std::vector<T> result;
  for (const float sum : sums) result.push_back(T(sum));
  return result;
}

template <typename T>
void expect_all_reduce(comm::Communicator& comm, std::int64_t num_elements) {
  const std::uint64_t seed = static_cast<std::uint64_t>(num_elements) + sizeof(T);
  std::vector<T> data = samples<T>(seed, comm.rank(), num_elements);

  comm.all_reduce(view(data));

  EXPECT_TRUE(same_bits(data, ordered_sum<T>(seed, comm.size(), num_elements)))
      << num_elements << " of " << name_of(dtype_of<T>);
}

/// Sizes on both sides of where a backend changes its way, and odd ones.
std::vector<std::int64_t> sizes_for(int num_ranks, std::size_t element_bytes) {
  std::vector<std::int64_t> sizes = {0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 1023, 1024, 1025, 4097};
  const auto limit =
      static_cast<std::int64_t>(comm::MpiCommunicator::max_direct_bytes(num_ranks) / element_bytes);
  for (const std::int64_t step : {-1, 0, 1, 2})
    sizes.push_back(std::max<std::int64_t>(0, limit + step));
  sizes.push_back(3 * limit + 5);
  return sizes;
}

TEST_P(CommConformance, AllReduceSumsInRankOrderInFloat32) {
  for (const std::int64_t n : sizes_for(size(), 4)) expect_all_reduce<float>(comm(), n);
  for (const std::int64_t n : sizes_for(size(), 2)) expect_all_reduce<bfloat16>(comm(), n);
  for (const std::int64_t n : sizes_for(size(), 2)) expect_all_reduce<float16>(comm(), n);
}

TEST_P(CommConformance, AllReduceOfManyMebibytesSumsInRankOrder) {
  expect_all_reduce<float>(comm(), (std::int64_t{5} << 20) / 2 + 3);
}

TEST_P(CommConformance, AllReduceRoundsOnceAndNotAfterEveryRank) {
  // 1 + 2^-9 + ... in bfloat16 after every addition would stay 1.
  std::vector<bfloat16> data = {bfloat16(rank() == 0 ? 1.0F : 0x1p-9F)};

  comm().all_reduce(view(data));

  EXPECT_EQ(data[0].bits, bfloat16(1.0F + 0x1p-9F * static_cast<float>(size() - 1)).bits);
}

TEST_P(CommConformance, AllReduceKeepsTheSignOfZeroAndInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> data = {-0.0F, rank() == 0 ? infinity : 1.0F, rank() == 0 ? -infinity : 1.0F};

  comm().all_reduce(view(data));

  EXPECT_TRUE(same_bits(data, {-0.0F, infinity, -infinity}));
}

template <typename T>
void expect_all_reduce_max(comm::Communicator& comm, std::int64_t num_elements) {
  std::vector<T> data = samples<T>(3, comm.rank(), num_elements);
  std::vector<T> expected = samples<T>(3, 0, num_elements);
  for (int r = 1; r < comm.size(); ++r) {
    const std::vector<T> part = samples<T>(3, r, num_elements);
    for (std::size_t i = 0; i < part.size(); ++i) expected[i] = std::max(expected[i], part[i]);
  }

  comm.all_reduce_max(view(data));

  EXPECT_TRUE(same_bits(data, expected)) << num_elements << " of " << name_of(dtype_of<T>);
}

TEST_P(CommConformance, AllReduceMaxTakesTheLargestOfEachElement) {
  for (const std::int64_t n : {0, 1, 5, 1000, 100003}) {
    expect_all_reduce_max<float>(comm(), n);
    expect_all_reduce_max<std::int32_t>(comm(), n);
    expect_all_reduce_max<std::int64_t>(comm(), n);
  }
}

TEST_P(CommConformance, AllReduceMaxPrefersANumberToNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float lowest = -std::numeric_limits<float>::infinity();
  std::vector<float> data = {rank() == size() - 1 ? 2.0F : nan, rank() == 0 ? lowest : nan, nan};

  comm().all_reduce_max(view(data));

  EXPECT_EQ(data[0], 2.0F);
  EXPECT_EQ(data[1], lowest);
  EXPECT_TRUE(std::isnan(data[2]));
}

template <typename T>
void expect_all_gather(comm::Communicator& comm, const std::vector<std::int64_t>& counts,
                       std::int64_t columns) {
  const std::int64_t own_rows = counts[static_cast<std::size_t>(comm.rank())];
  std::vector<T> in = samples<T>(5, comm.rank(), own_rows * columns);
  std::vector<T> out(static_cast<std::size_t>(sum_of(counts) * columns), T());
  std::vector<T> expected;
  for (int r = 0; r < comm.size(); ++r) {
    const auto part = samples<T>(5, r, counts[static_cast<std::size_t>(r)] * columns);
    expected.insert(expected.end(), part.begin(), part.end());
  }

  comm.all_gather(view(in, {own_rows, columns}), view(out, {sum_of(counts), columns}), counts);

  EXPECT_TRUE(same_bits(out, expected)) << columns << " columns";
}

TEST_P(CommConformance, AllGatherPutsUnevenPartsOneAfterTheOther) {
  const std::vector<std::int64_t> even(static_cast<std::size_t>(size()), 2);
  const std::vector<std::int64_t> none(static_cast<std::size_t>(size()), 0);
  for (const std::int64_t columns : {1, 5, 20000}) {
    for (const auto& counts : {uneven(0), uneven(1), uneven(2), even, none}) {
      expect_all_gather<float>(comm(), counts, columns);
      expect_all_gather<bfloat16>(comm(), counts, columns);
      expect_all_gather<std::int64_t>(comm(), counts, columns);
      expect_all_gather<std::uint8_t>(comm(), counts, columns);
    }
  }
}

TEST_P(CommConformance, AllGatherTakesThePartFromItsPlaceInTheResult) {
  std::vector<std::int32_t> data(static_cast<std::size_t>(size()), -1);
  data[own()] = rank();
  const TensorView whole = view(data);

  comm().all_gather(whole.slice(rank(), rank() + 1), whole,
                    std::vector<std::int64_t>(static_cast<std::size_t>(size()), 1));

  for (int r = 0; r < size(); ++r) EXPECT_EQ(data[static_cast<std::size_t>(r)], r);
}

template <typename T>
void expect_reduce_scatter(comm::Communicator& comm, const std::vector<std::int64_t>& counts,
                           std::int64_t columns) {
  const std::int64_t rows = sum_of(counts);
  const auto own = static_cast<std::size_t>(comm.rank());
  std::vector<T> in = samples<T>(7, comm.rank(), rows * columns);
  std::vector<T> out(static_cast<std::size_t>(counts[own] * columns), T());
  const std::vector<T> sums = ordered_sum<T>(7, comm.size(), rows * columns);
  std::int64_t begin = 0;
  for (std::size_t r = 0; r < own; ++r) begin += counts[r];

  comm.reduce_scatter(view(in, {rows, columns}), view(out, {counts[own], columns}), counts);

  const auto first = sums.begin() + begin * columns;
  EXPECT_TRUE(same_bits(out, std::vector<T>(first, first + counts[own] * columns)))
      << columns << " columns";
}

TEST_P(CommConformance, ReduceScatterKeepsTheOwnRowsOfTheOrderedSum) {
  for (const std::int64_t columns : {1, 33, 9000}) {
    for (const int shift : {0, 1, 2}) {
      expect_reduce_scatter<float>(comm(), uneven(shift), columns);
      expect_reduce_scatter<bfloat16>(comm(), uneven(shift), columns);
      expect_reduce_scatter<float16>(comm(), uneven(shift), columns);
    }
  }
}

/// Rows that `from` sends to `to`; some are zero, also to itself.
std::int64_t rows_between(int from, int to) { return (from * 3 + to * 5 + 1) % 4; }

/// The value in the first column of row `row` from one rank to another.
std::int32_t mark(int from, int to, std::int64_t row) {
  return from * 10000 + to * 100 + static_cast<std::int32_t>(row);
}

void expect_all_to_all(comm::Communicator& comm, std::int64_t columns) {
  std::vector<std::int64_t> send_counts, recv_counts;
  std::vector<std::int32_t> in, expected;
  for (int r = 0; r < comm.size(); ++r) {
    send_counts.push_back(rows_between(comm.rank(), r));
    recv_counts.push_back(rows_between(r, comm.rank()));
    for (std::int64_t row = 0; row < send_counts.back(); ++row) {
      in.insert(in.end(), static_cast<std::size_t>(columns), mark(comm.rank(), r, row));
    }
    for (std::int64_t row = 0; row < recv_counts.back(); ++row) {
      expected.insert(expected.end(), static_cast<std::size_t>(columns), mark(r, comm.rank(), row));
    }
  }
  std::vector<std::int32_t> out(expected.size(), -1);

  comm.all_to_all(view(in, {sum_of(send_counts), columns}), send_counts,
                  view(out, {sum_of(recv_counts), columns}), recv_counts);

  EXPECT_TRUE(same_bits(out, expected)) << columns << " columns";
}

TEST_P(CommConformance, AllToAllBringsUnevenRowsInRankOrder) {
  for (const std::int64_t columns : {1, 3, 2500, 30000}) expect_all_to_all(comm(), columns);
}

TEST_P(CommConformance, BroadcastGivesTheDataOfAnyRootToAll) {
  for (int root = 0; root < size(); ++root) {
    for (const std::int64_t n : {0, 1, 999, 300001}) {
      std::vector<float> data = samples<float>(11, rank(), n);

      comm().broadcast(view(data), root);

      EXPECT_TRUE(same_bits(data, samples<float>(11, root, n))) << "root " << root;
    }
  }
}

TEST_P(CommConformance, BarrierLetsNobodyGoBeforeTheLastHasCome) {
  // One node, one monotonic clock.
  std::vector<std::int64_t> came(static_cast<std::size_t>(size()));
  std::this_thread::sleep_for(std::chrono::milliseconds(5 * rank()));
  const auto now_ns = [] { return static_cast<std::int64_t>(monotonic_seconds() * 1e9); };
  came[own()] = now_ns();

  comm().barrier();

  const std::int64_t went = now_ns();
  const TensorView whole = view(came);
  comm().all_gather(whole.slice(rank(), rank() + 1), whole,
                    std::vector<std::int64_t>(static_cast<std::size_t>(size()), 1));
  for (const std::int64_t other : came) EXPECT_LE(other, went);
}

TEST_P(CommConformance, RefusesCountsThatDoNotFitTheTensors) {
  std::vector<float> in(2), out(static_cast<std::size_t>(2 * size()));
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), 2);
  counts.back() = 3;

  EXPECT_THROW(comm().all_gather(view(in), view(out), counts), Error);
  counts.back() = -1;
  EXPECT_THROW(comm().all_gather(view(in), view(out), counts), Error);
  counts.push_back(1);
  EXPECT_THROW(comm().reduce_scatter(view(out), view(in), counts), Error);
}

INSTANTIATE_TEST_SUITE_P(Backends, CommConformance, testing::Values("mpi"),
                         [](const auto& test) { return test.param; });

TEST(CommFactory, RefusesABackendThatIsNotBuilt) {
  try {
    comm::make_communicator(comm::MpiComm(), "carrier_pigeon");
    ADD_FAILURE() << "was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::config);
    EXPECT_NE(std::string(error.what()).find("carrier_pigeon"), std::string::npos);
  }
}

TEST(CommFactory, GroupOfOneRankNeedsNoCommunicator) {
  const auto alone = comm::make_communicator(comm::MpiComm(), "mpi");
  std::vector<float> data = {1.5F, -2.0F}, out(2);
  const std::vector<std::int64_t> counts = {2};

  alone->all_reduce(view(data));
  alone->broadcast(view(data), 0);
  alone->barrier();
  alone->all_to_all(view(data), counts, view(out), counts);
  EXPECT_EQ(out, data);
  alone->reduce_scatter(view(data), view(out), counts);
  EXPECT_EQ(out, data);
}

}  // namespace
}  // namespace trireme::test
