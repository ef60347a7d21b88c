// Every group of every layout of the ranks that were started, against the pure integers of
// Topology.

#include "comm/process_groups.h"

#include <algorithm>

#include "base/error.h"
#include "comm_fixture.h"

namespace trireme::test {
namespace {

using comm::MpiComm;
using comm::ProcessGroups;
using topology::Axis;
using topology::Sizes;
using topology::Topology;

std::vector<int> divisors(int number) {
  std::vector<int> result;
  for (int divisor = 1; divisor <= number; ++divisor) {
    if (number % divisor == 0) result.push_back(divisor);
  }
  return result;
}

std::vector<Sizes> all_layouts(int world) {
  std::vector<Sizes> result;
  for (const int tp : divisors(world)) {
    for (const int pp : divisors(world / tp)) {
      for (const int cp : divisors(world / tp / pp)) {
        for (const bool helix : {false, true}) {
          if (helix && cp == 1) continue;
          const int ffn = helix ? tp * cp : tp;
          for (const int moe_tp : divisors(ffn)) {
            for (const bool attention_dp : {false, true}) {
              Sizes sizes;
              sizes.tp = tp;
              sizes.pp = pp;
              sizes.cp = cp;
              sizes.dp = world / tp / pp / cp;
              sizes.moe_tp = moe_tp;
              sizes.moe_ep = ffn / moe_tp;
              sizes.attention_dp = attention_dp;
              sizes.helix = helix;
              result.push_back(sizes);
            }
          }
        }
      }
    }
  }
  return result;
}

std::string text(const Sizes& s) {
  return cat("TP", s.tp, " PP", s.pp, " CP", s.cp, " DP", s.dp, " moe_tp ", s.moe_tp, " moe_ep ",
             s.moe_ep, s.attention_dp ? " attention DP" : "", s.helix ? " helix" : "");
}

/// The world ranks of a group in its order, as its members tell.
std::vector<int> members(comm::Communicator& group, int world_rank) {
  std::vector<std::int32_t> ranks(static_cast<std::size_t>(group.size()));
  ranks[static_cast<std::size_t>(group.rank())] = world_rank;
  const TensorView whole = view(ranks);
  group.all_gather(whole.slice(group.rank(), group.rank() + 1), whole,
                   std::vector<std::int64_t>(ranks.size(), 1));
  return {ranks.begin(), ranks.end()};
}

std::vector<int> members(const MpiComm& group, int world_rank) {
  std::vector<int> result;
  if (!group) return result;
  for (const std::string& rank : group.all_gather(std::to_string(world_rank))) {
    result.push_back(std::stoi(rank));
  }
  return result;
}

std::vector<int> leader_first(const Topology& topology, int rank) {
  std::vector<int> ranks = topology.group_ranks(Axis::sequence_group, rank);
  std::stable_partition(ranks.begin(), ranks.end(),
                        [&](int member) { return topology.is_leader(member); });
  return ranks;
}

std::vector<int> header_ranks(const Topology& topology, int rank) {
  std::vector<int> ranks;
  if (!topology.sizes().attention_dp || !topology.is_leader(rank)) return ranks;
  for (const int member : topology.group_ranks(Axis::tp, rank)) {
    if (topology.is_leader(member)) ranks.push_back(member);
  }
  return ranks;
}

void expect_groups(MpiComm world, const Sizes& sizes) {
  const int rank = world.rank();
  std::vector<int> all;
  for (int r = 0; r < world.size(); ++r) all.push_back(r);
  const Topology topology(sizes);

  const ProcessGroups groups = comm::make_process_groups(std::move(world), topology, "mpi");

  EXPECT_EQ(members(*groups.tp, rank), topology.group_ranks(Axis::tp, rank));
  EXPECT_EQ(members(*groups.ffn, rank), topology.group_ranks(Axis::ffn, rank));
  EXPECT_EQ(members(*groups.moe_tp, rank), topology.group_ranks(Axis::moe_tp, rank));
  EXPECT_EQ(members(*groups.moe_ep, rank), topology.group_ranks(Axis::moe_ep, rank));
  EXPECT_EQ(members(*groups.pp_hidden, rank), topology.group_ranks(Axis::pp, rank));
  EXPECT_EQ(members(*groups.pp_tokens, rank), topology.group_ranks(Axis::pp, rank));
  EXPECT_EQ(members(*groups.cp, rank), topology.group_ranks(Axis::cp, rank));
  EXPECT_EQ(members(groups.sequence, rank), leader_first(topology, rank));
  EXPECT_EQ(members(groups.headers, rank), header_ranks(topology, rank));
  EXPECT_EQ(members(groups.claims, rank), all);
  EXPECT_EQ(members(groups.world, rank), all);
  EXPECT_GE(groups.node.size(), 1);

  // The expert exchange numbers the ffn group so.
  const topology::Coordinates at = topology.coordinates(rank);
  EXPECT_EQ(groups.ffn->rank(), at.moe_tp * sizes.moe_ep + at.moe_ep);
}

TEST(ProcessGroups, HoldTheRanksThatTheTopologyNamesInEveryLayout) {
  const MpiComm world = MpiComm::world();
  for (const Sizes& sizes : all_layouts(world.size())) {
    SCOPED_TRACE(text(sizes));
    expect_groups(world.duplicate(), sizes);
  }
}

TEST(ProcessGroups, AreMadeOverAPartOfTheWorld) {
  const MpiComm world = MpiComm::world();
  MpiComm half = world.split(world.rank() % 2, world.rank());
  for (const Sizes& sizes : all_layouts(half.size())) {
    SCOPED_TRACE(text(sizes));
    expect_groups(half.duplicate(), sizes);
  }
}

TEST(ProcessGroups, RefuseALayoutOfAnotherNumberOfRanks) {
  Sizes sizes;
  sizes.tp = MpiComm::world().size() + 1;
  sizes.moe_tp = sizes.tp;

  EXPECT_THROW(comm::make_process_groups(MpiComm::world(), Topology(sizes), "mpi"), Error);
}

}  // namespace
}  // namespace trireme::test
