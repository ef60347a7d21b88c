#include "topology/topology_table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace trireme::topology {
namespace {

TEST(TopologyTable, ShowsRanksNodesDevicesAndGroups) {
  const Topology topology({.tp = 2, .pp = 2, .moe_tp = 1, .moe_ep = 2});

  const std::string table =
      topology_table(topology, {"n1", "n1", "n2", "n2"}, {"cpu", "cpu", "cpu", "cuda:1"});

  EXPECT_EQ(table,
            "4 ranks on 2 nodes = data 1 x pipeline 2 x context 1 x tensor 2; experts: tensor 1 x "
            "expert 2\n"
            "  rank    dp    pp    cp    tp  moe_tp  moe_ep  group  node  device\n"
            "     0     0     0     0     0       0       0      0    n1  cpu  leader\n"
            "     1     0     0     0     1       0       1      0    n1  cpu\n"
            "     2     0     1     0     0       0       0      0    n2  cpu\n"
            "     3     0     1     0     1       0       1      0    n2  cuda:1\n"
            "groups\n"
            "  tp        {0-1} {2-3} (2 x 2, tensor parallel)\n"
            "  pp        {0,2} {1,3} (2 x 2, pipeline stages)\n"
            "  moe_ep    {0-1} {2-3} (2 x 2, experts spread over ranks)\n"
            "  sequences {0-3} (1 x 4, ranks that work on the same sequences)");
}

TEST(TopologyTable, IsShortForOneRank) {
  EXPECT_EQ(topology_table(Topology({})),
            "1 rank = data 1 x pipeline 1 x context 1 x tensor 1; experts: tensor 1 x expert 1\n"
            "  rank    dp    pp    cp    tp  moe_tp  moe_ep  group\n"
            "     0     0     0     0     0       0       0      0  leader");
}

TEST(TopologyTable, StaysShortForManyRanks) {
  const Topology topology({.tp = 8, .pp = 4, .dp = 16384, .moe_tp = 1, .moe_ep = 8});

  const std::string table = topology_table(topology);

  EXPECT_LT(std::count(table.begin(), table.end(), '\n'), 30);
  EXPECT_NE(table.find("... and ranks 16-524287 in the same order"), std::string::npos);
  EXPECT_NE(table.find("tp        {0-7} {8-15} {16-23} {24-31} ... (65536 x 8, "),
            std::string::npos);
  EXPECT_NE(table.find("dp        {0,32,...,524256} "), std::string::npos);
}

TEST(TopologyTable, RefusesListsOfAnotherLength) {
  EXPECT_THROW(topology_table(Topology({}), {"a", "b"}), Error);
}

TEST(RanksInShort, NamesRangesAndLists) {
  EXPECT_EQ(ranks_in_short({5}), "5");
  EXPECT_EQ(ranks_in_short({4, 5, 6}), "4-6");
  EXPECT_EQ(ranks_in_short({0, 4, 8}), "0,4,8");
  EXPECT_EQ(ranks_in_short({0, 2, 4, 6, 8, 10, 12, 14, 16}), "0,2,...,16");
}

}  // namespace
}  // namespace trireme::topology
