#include "topology/topology_table.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <set>
#include <sstream>

#include "base/error.h"

namespace trireme::topology {
namespace {

constexpr int kRankLines = 32;  // of a job with more ranks only the first kFirstLines are shown
constexpr int kFirstLines = 16;
constexpr int kGroups = 4;  // groups shown of one family

struct Family {
  Axis axis;
  const char* name;
  const char* meaning;
};
constexpr std::array<Family, 7> kFamilies = {{
    {Axis::tp, "tp", "tensor parallel"},
    {Axis::cp, "cp", "context parallel"},
    {Axis::pp, "pp", "pipeline stages"},
    {Axis::dp, "dp", "replicas"},
    {Axis::moe_tp, "moe_tp", "experts cut into shards"},
    {Axis::moe_ep, "moe_ep", "experts spread over ranks"},
    {Axis::sequence_group, "sequences", "ranks that work on the same sequences"},
}};

std::string heading(const Sizes& sizes, const std::vector<std::string>& hosts) {
  const std::size_t nodes = std::set<std::string>(hosts.begin(), hosts.end()).size();
  std::string line = cat(sizes.world(), sizes.world() == 1 ? " rank" : " ranks");
  if (nodes > 0) line += cat(" on ", nodes, nodes == 1 ? " node" : " nodes");
  line += cat(" = data ", sizes.dp, " x pipeline ", sizes.pp, " x context ", sizes.cp, " x tensor ",
              sizes.tp, "; experts: tensor ", sizes.moe_tp, " x expert ", sizes.moe_ep);
  if (sizes.attention_dp) line += "; attention data parallel";
  if (sizes.helix) line += "; helix";
  return line;
}

void add_rank_lines(std::ostream& out, const Topology& topology,
                    const std::vector<std::string>& hosts,
                    const std::vector<std::string>& devices) {
  const int world = topology.sizes().world();
  const int shown = world <= kRankLines ? world : kFirstLines;
  std::size_t host_width = 4;
  for (const std::string& host : hosts) host_width = std::max(host_width, host.size());
  const auto cell = [&out](const auto& value, std::size_t width) {
    out << "  " << std::setw(static_cast<int>(width)) << value;
  };

  out << "\n  rank    dp    pp    cp    tp  moe_tp  moe_ep  group";
  if (!hosts.empty()) cell("node", host_width);
  if (!devices.empty()) out << "  device";
  for (int rank = 0; rank < shown; ++rank) {
    const Coordinates at = topology.coordinates(rank);
    out << "\n";
    for (const int number : {rank, at.dp, at.pp, at.cp, at.tp}) cell(number, 4);
    cell(at.moe_tp, 6);
    cell(at.moe_ep, 6);
    cell(topology.sequence_group_index(rank), 5);
    if (!hosts.empty()) cell(hosts[rank], host_width);
    if (!devices.empty()) out << "  " << devices[rank];
    if (topology.is_leader(rank)) out << "  leader";
  }
  if (shown < world) {
    out << "\n  ... and ranks " << shown << "-" << world - 1 << " in the same order";
  }
}

/// The first groups of a family in order of their lowest rank. Walks the ranks only as far as
/// needed.
void add_family(std::ostream& out, const Topology& topology, const Family& family) {
  const std::size_t group_size = topology.group_ranks(family.axis, 0).size();
  if (group_size == 1) return;
  const int num_groups = topology.sizes().world() / static_cast<int>(group_size);

  out << "\n  " << std::left << std::setw(10) << family.name << std::right;
  const int to_show = std::min(kGroups, num_groups);
  for (int rank = 0, shown = 0; shown < to_show; ++rank) {
    const std::vector<int> ranks = topology.group_ranks(family.axis, rank);
    if (ranks.front() != rank) continue;
    out << "{" << ranks_in_short(ranks) << "} ";
    if (ranks.back() - rank + 1 == static_cast<int>(group_size)) rank = ranks.back();
    ++shown;
  }
  if (to_show < num_groups) out << "... ";
  out << "(" << num_groups << " x " << group_size << ", " << family.meaning << ")";
}

}  // namespace

std::string ranks_in_short(const std::vector<int>& ranks) {
  if (ranks.empty()) return {};
  const int last = ranks.back();
  if (ranks.size() > 1 && last - ranks.front() + 1 == static_cast<int>(ranks.size())) {
    return cat(ranks.front(), "-", last);
  }
  std::string text = cat(ranks.front());
  if (ranks.size() > 8) return cat(text, ",", ranks[1], ",...,", last);
  for (std::size_t i = 1; i < ranks.size(); ++i) text += cat(",", ranks[i]);
  return text;
}

std::string topology_table(const Topology& topology, const std::vector<std::string>& hosts,
                           const std::vector<std::string>& devices) {
  const std::size_t world = static_cast<std::size_t>(topology.sizes().world());
  TRIREME_CHECK(hosts.empty() || hosts.size() == world, "hosts=", hosts.size());
  TRIREME_CHECK(devices.empty() || devices.size() == world, "devices=", devices.size());

  std::ostringstream out;
  out << heading(topology.sizes(), hosts);
  add_rank_lines(out, topology, hosts, devices);
  if (world > 1) out << "\ngroups";
  for (const Family& family : kFamilies) add_family(out, topology, family);
  return std::move(out).str();
}

}  // namespace trireme::topology
