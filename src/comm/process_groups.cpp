#include "comm/process_groups.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/factory.h"

namespace trireme::comm {
namespace {

using topology::Axis;
using topology::Topology;

/// Makes the communicators of this rank; every call is made by all ranks of the world.
class GroupMaker {
 public:
  GroupMaker(const MpiComm& world, const Topology& topology, const std::string& backend)
      : world_(world), topology_(topology), backend_(backend), rank_(world.rank()) {}

  /// The group of a family, by ascending world rank.
  std::unique_ptr<Communicator> make(Axis axis) const {
    const std::vector<int> ranks = topology_.group_ranks(axis, rank_);
    // All groups of a family have one size: a family of single ranks needs no communicator.
    if (ranks.size() == 1) return make_communicator(MpiComm(), backend_);
    return make_communicator(world_.split(ranks.front(), rank_), backend_);
  }

  /// The sequence group, its leader first.
  MpiComm sequence() const {
    const int is_follower = topology_.is_leader(rank_) ? 0 : 1;
    return world_.split(topology_.sequence_group_index(rank_), is_follower * world_.size() + rank_);
  }

  /// The leaders that meet in one tp group; empty without attention DP and for all other ranks.
  MpiComm headers() const {
    if (!topology_.sizes().attention_dp) return {};
    const int color =
        topology_.is_leader(rank_) ? topology_.group_ranks(Axis::tp, rank_).front() : -1;
    return world_.split(color, rank_);
  }

 private:
  const MpiComm& world_;
  const Topology& topology_;
  const std::string& backend_;
  int rank_;
};

}  // namespace

ProcessGroups make_process_groups(MpiComm world, const Topology& topology,
                                  const std::string& backend) {
  TRIREME_CHECK(world.size() == topology.sizes().world(), "ranks=", world.size(),
                " world of the layout=", topology.sizes().world());
  const GroupMaker maker(world, topology, backend);
  ProcessGroups groups;
  groups.node = world.split_by_node();
  groups.sequence = maker.sequence();
  groups.claims = world.duplicate();
  groups.headers = maker.headers();
  groups.tp = maker.make(Axis::tp);
  groups.ffn = maker.make(Axis::ffn);
  groups.moe_tp = maker.make(Axis::moe_tp);
  groups.moe_ep = maker.make(Axis::moe_ep);
  groups.pp_hidden = maker.make(Axis::pp);
  groups.pp_tokens = maker.make(Axis::pp);
  groups.cp = maker.make(Axis::cp);
  groups.world = std::move(world);
  return groups;
}

}  // namespace trireme::comm
