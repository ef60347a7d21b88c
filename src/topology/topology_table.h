#pragma once

#include <string>
#include <vector>

#include "topology/topology.h"

namespace trireme::topology {

/// The layout for a reader, several lines without the last line break: sizes, one line a rank (the
/// first ones only when there are many), the groups of every family that has more than one member.
///   hosts    node name of each rank; empty where nodes are not known
///   devices  such as "cuda:3" for each rank; may be empty
std::string topology_table(const Topology& topology, const std::vector<std::string>& hosts = {},
                           const std::vector<std::string>& devices = {});

/// Ranks in short: "0-3" for contiguous ones, "0,4,8" or "0,4,...,28" for others.
std::string ranks_in_short(const std::vector<int>& ranks);

}  // namespace trireme::topology
