#include "topology/topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/error.h"
#include "config/resolve.h"

namespace trireme::topology {
namespace {

using Ranks = std::vector<int>;

constexpr Axis kAxes[] = {Axis::tp,     Axis::cp,     Axis::pp,  Axis::dp,
                          Axis::moe_tp, Axis::moe_ep, Axis::ffn, Axis::sequence_group};

/// Every layout whose four sizes come from 1, 2, 3, 4 and whose world is at most 48, with every
/// split of the experts, with and without attention DP and helix.
std::vector<Sizes> many_sizes() {
  std::vector<Sizes> all;
  for (int dp = 1; dp <= 3; ++dp) {
    for (int pp = 1; pp <= 4; ++pp) {
      for (int cp = 1; cp <= 3; ++cp) {
        for (const int tp : {1, 2, 3, 4, 8}) {
          if (dp * pp * cp * tp > 48) continue;
          for (const bool helix : {false, true}) {
            const int ffn = helix ? tp * cp : tp;
            for (int moe_ep = 1; moe_ep <= ffn; ++moe_ep) {
              if (ffn % moe_ep != 0) continue;
              for (const bool attention_dp : {false, true}) {
                all.push_back({.tp = tp,
                               .pp = pp,
                               .cp = cp,
                               .dp = dp,
                               .moe_tp = ffn / moe_ep,
                               .moe_ep = moe_ep,
                               .attention_dp = attention_dp,
                               .helix = helix});
              }
            }
          }
        }
      }
    }
  }
  return all;
}

std::string text_of(const Sizes& s) {
  return cat("tp", s.tp, " pp", s.pp, " cp", s.cp, " dp", s.dp, " moe ", s.moe_tp, "x", s.moe_ep,
             s.attention_dp ? " attention_dp" : "", s.helix ? " helix" : "");
}

Sizes dense(int tp, int pp, int cp = 1, int dp = 1) {
  return {.tp = tp, .pp = pp, .cp = cp, .dp = dp, .moe_tp = tp, .moe_ep = 1};
}

int num_common(const Ranks& a, const Ranks& b) {
  Ranks common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return static_cast<int>(common.size());
}

TEST(Topology, GivesTheGroupsOfTheWorkedExamples) {
  const Topology tp4_pp2(dense(4, 2));
  EXPECT_EQ(tp4_pp2.group_ranks(Axis::tp, 0), (Ranks{0, 1, 2, 3}));
  EXPECT_EQ(tp4_pp2.group_ranks(Axis::pp, 0), (Ranks{0, 4}));

  const Topology tp2_pp4(dense(2, 4));
  EXPECT_EQ(tp2_pp4.group_ranks(Axis::tp, 6), (Ranks{6, 7}));
  EXPECT_EQ(tp2_pp4.group_ranks(Axis::pp, 6), (Ranks{0, 2, 4, 6}));

  const Topology tp2_pp2_cp2(dense(2, 2, 2));
  EXPECT_EQ(tp2_pp2_cp2.group_ranks(Axis::tp, 3), (Ranks{2, 3}));
  EXPECT_EQ(tp2_pp2_cp2.group_ranks(Axis::cp, 3), (Ranks{1, 3}));
  EXPECT_EQ(tp2_pp2_cp2.group_ranks(Axis::pp, 3), (Ranks{3, 7}));

  const Topology tp2_pp2_cp4(dense(2, 2, 4));
  EXPECT_EQ(tp2_pp2_cp4.group_ranks(Axis::tp, 9), (Ranks{8, 9}));
  EXPECT_EQ(tp2_pp2_cp4.group_ranks(Axis::cp, 9), (Ranks{9, 11, 13, 15}));
  EXPECT_EQ(tp2_pp2_cp4.group_ranks(Axis::pp, 9), (Ranks{1, 9}));
}

TEST(Topology, SplitsExpertsAsInTheWorkedExamples) {
  const Topology two_by_four({.tp = 8, .moe_tp = 2, .moe_ep = 4});
  EXPECT_EQ(two_by_four.group_ranks(Axis::moe_ep, 2), (Ranks{0, 1, 2, 3}));
  EXPECT_EQ(two_by_four.group_ranks(Axis::moe_ep, 4), (Ranks{4, 5, 6, 7}));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(two_by_four.group_ranks(Axis::moe_tp, i + 4), (Ranks{i, i + 4}));
  }

  const Topology four_by_two({.tp = 8, .moe_tp = 4, .moe_ep = 2});
  for (int i = 0; i < 8; i += 2) {
    EXPECT_EQ(four_by_two.group_ranks(Axis::moe_ep, i + 1), (Ranks{i, i + 1}));
  }
  EXPECT_EQ(four_by_two.group_ranks(Axis::moe_tp, 6), (Ranks{0, 2, 4, 6}));
  EXPECT_EQ(four_by_two.group_ranks(Axis::moe_tp, 1), (Ranks{1, 3, 5, 7}));
}

TEST(Topology, PutsReplicasBehindEachOther) {
  const Topology topology(dense(2, 2, 1, 3));

  EXPECT_EQ(topology.group_ranks(Axis::dp, 5), (Ranks{1, 5, 9}));
  EXPECT_EQ(topology.coordinates(9),
            (Coordinates{.dp = 2, .pp = 0, .cp = 0, .tp = 1, .moe_tp = 1}));
}

TEST(Topology, SpansTheExpertsOverAStageWithHelix) {
  const Topology topology({.tp = 2, .pp = 2, .cp = 2, .moe_tp = 2, .moe_ep = 2, .helix = true});

  EXPECT_EQ(topology.group_ranks(Axis::ffn, 6), (Ranks{4, 5, 6, 7}));
  EXPECT_EQ(topology.group_ranks(Axis::moe_ep, 6), (Ranks{6, 7}));
  EXPECT_EQ(topology.group_ranks(Axis::moe_tp, 6), (Ranks{4, 6}));
}

TEST(Topology, RanksAndCoordinatesAreInverse) {
  for (const Sizes& sizes : many_sizes()) {
    const Topology topology(sizes);
    for (int rank = 0; rank < sizes.world(); ++rank) {
      const Coordinates at = topology.coordinates(rank);
      ASSERT_EQ(topology.rank_of(at.dp, at.pp, at.cp, at.tp), rank) << text_of(sizes);
      ASSERT_EQ(at.moe_tp * sizes.moe_ep + at.moe_ep,
                sizes.helix ? at.cp * sizes.tp + at.tp : at.tp)
          << text_of(sizes);
    }
  }
}

TEST(Topology, EveryFamilyPartitionsTheWorld) {
  for (const Sizes& sizes : many_sizes()) {
    const Topology topology(sizes);
    for (const Axis axis : kAxes) {
      std::set<Ranks> groups;
      for (int rank = 0; rank < sizes.world(); ++rank) {
        const Ranks group = topology.group_ranks(axis, rank);
        ASSERT_TRUE(std::is_sorted(group.begin(), group.end())) << text_of(sizes);
        ASSERT_TRUE(std::binary_search(group.begin(), group.end(), rank)) << text_of(sizes);
        groups.insert(group);
      }
      Ranks all;
      for (const Ranks& group : groups) all.insert(all.end(), group.begin(), group.end());
      std::sort(all.begin(), all.end());
      Ranks world(sizes.world());
      for (int rank = 0; rank < sizes.world(); ++rank) world[rank] = rank;
      ASSERT_EQ(all, world) << text_of(sizes) << " axis " << static_cast<int>(axis);
    }
  }
}

TEST(Topology, GroupsOfDifferentFamiliesShareAtMostOneRank) {
  for (const Sizes& sizes : many_sizes()) {
    const Topology topology(sizes);
    std::vector<std::pair<Axis, Axis>> pairs = {
        {Axis::tp, Axis::cp},  {Axis::tp, Axis::pp},         {Axis::tp, Axis::dp},
        {Axis::cp, Axis::pp},  {Axis::cp, Axis::dp},         {Axis::pp, Axis::dp},
        {Axis::ffn, Axis::pp}, {Axis::moe_tp, Axis::moe_ep}, {Axis::ffn, Axis::dp}};
    if (!sizes.helix) pairs.push_back({Axis::ffn, Axis::cp});
    for (const auto& [one, other] : pairs) {
      for (int rank = 0; rank < sizes.world(); ++rank) {
        for (int peer = 0; peer < sizes.world(); ++peer) {
          ASSERT_LE(num_common(topology.group_ranks(one, rank), topology.group_ranks(other, peer)),
                    1)
              << text_of(sizes);
        }
      }
    }
  }
}

TEST(Topology, ExpertGroupsTileTheFfnFamily) {
  for (const Sizes& sizes : many_sizes()) {
    const Topology topology(sizes);
    for (int rank = 0; rank < sizes.world(); ++rank) {
      std::set<int> reached;
      for (const int shard : topology.group_ranks(Axis::moe_tp, rank)) {
        for (const int peer : topology.group_ranks(Axis::moe_ep, shard)) reached.insert(peer);
      }
      const Ranks ffn = topology.group_ranks(Axis::ffn, rank);
      ASSERT_EQ(Ranks(reached.begin(), reached.end()), ffn) << text_of(sizes);
    }
  }
}

TEST(Topology, HasOneLeaderPerSequenceGroup) {
  for (const Sizes& sizes : many_sizes()) {
    const Topology topology(sizes);
    std::vector<int> num_leaders(topology.num_sequence_groups(), 0);
    for (int rank = 0; rank < sizes.world(); ++rank) {
      const Ranks group = topology.group_ranks(Axis::sequence_group, rank);
      ASSERT_EQ(group.size() * topology.num_sequence_groups(), sizes.world()) << text_of(sizes);
      ASSERT_EQ(topology.leader(rank), group.front()) << text_of(sizes);
      for (const int peer : group) {
        ASSERT_EQ(topology.sequence_group_index(peer), topology.sequence_group_index(rank));
      }
      if (!topology.is_leader(rank)) continue;
      const Coordinates at = topology.coordinates(rank);
      ASSERT_TRUE(at.pp == 0 && at.cp == 0 && (sizes.attention_dp || at.tp == 0));
      ++num_leaders.at(topology.sequence_group_index(rank));
    }
    for (const int count : num_leaders) ASSERT_EQ(count, 1) << text_of(sizes);
  }
}

TEST(Topology, SequenceGroupIsAReplicaOrATensorColumn) {
  Sizes sizes = dense(2, 2, 1, 2);
  const Topology plain(sizes);
  EXPECT_EQ(plain.num_sequence_groups(), 2);
  EXPECT_EQ(plain.group_ranks(Axis::sequence_group, 6), (Ranks{4, 5, 6, 7}));
  EXPECT_EQ(plain.leader(7), 4);
  EXPECT_EQ(plain.sequence_group_index(7), 1);

  sizes.attention_dp = true;
  const Topology columns(sizes);
  EXPECT_EQ(columns.num_sequence_groups(), 4);
  EXPECT_EQ(columns.group_ranks(Axis::sequence_group, 7), (Ranks{5, 7}));
  EXPECT_EQ(columns.leader(7), 5);
  EXPECT_EQ(columns.sequence_group_index(7), 3);
}

TEST(Topology, RefusesSizesThatDoNotFit) {
  EXPECT_THROW(Topology({.tp = 0}), Error);
  EXPECT_THROW(Topology({.tp = 4, .moe_tp = 2, .moe_ep = 1}), Error);
  EXPECT_THROW(Topology({.tp = 65536, .pp = 65536, .moe_tp = 65536}), Error);
  EXPECT_THROW(Topology(dense(2, 2)).coordinates(4), Error);
  EXPECT_THROW(Topology(dense(2, 2)).coordinates(-1), Error);
  EXPECT_THROW(Topology(dense(2, 2)).rank_of(0, 2, 0, 0), Error);
}

TEST(Topology, TakesItsSizesFromAConfiguration) {
  const config::ResolvedParallel parallel{.tp = 4,
                                          .pp = 3,
                                          .cp = 1,
                                          .dp = 2,
                                          .moe_tp = 2,
                                          .moe_ep = 2,
                                          .attention_dp = true,
                                          .helix = false};

  const Sizes sizes = sizes_from(parallel);

  EXPECT_EQ(text_of(sizes), "tp4 pp3 cp1 dp2 moe 2x2 attention_dp");
}

TEST(LayersOfStage, CoverTheLayersInOrder) {
  for (int num_layers = 1; num_layers <= 40; ++num_layers) {
    for (int num_stages = 1; num_stages <= std::min(num_layers, 9); ++num_stages) {
      int next = 0;
      for (int stage = 0; stage < num_stages; ++stage) {
        const LayerRange range = layers_of_stage(num_layers, num_stages, stage, {});
        ASSERT_EQ(range.begin, next);
        ASSERT_EQ(range.end - range.begin,
                  num_layers / num_stages + (stage < num_layers % num_stages ? 1 : 0));
        next = range.end;
      }
      ASSERT_EQ(next, num_layers);
    }
  }
}

TEST(LayersOfStage, FollowsTheListIfThereIsOne) {
  EXPECT_EQ(layers_of_stage(5, 2, 1, {1, 4}).begin, 1);
  EXPECT_EQ(layers_of_stage(5, 2, 1, {1, 4}).end, 5);
  EXPECT_THROW(layers_of_stage(5, 3, 0, {1, 4}), Error);
  EXPECT_THROW(layers_of_stage(4, 2, 1, {1, 4}), Error);
}

}  // namespace
}  // namespace trireme::topology
