#include "topology/topology.h"

#include <cstdint>

#include "base/error.h"
#include "config/resolve.h"

namespace trireme::topology {
namespace {

void check_sizes(const Sizes& sizes) {
  std::int64_t world = 1;
  for (const int size : {sizes.tp, sizes.pp, sizes.cp, sizes.dp}) {
    TRIREME_CHECK(size >= 1, "size=", size);
    world *= size;
    TRIREME_CHECK(world <= INT32_MAX, "world=", world);
  }
  const std::int64_t ffn = std::int64_t{sizes.tp} * (sizes.helix ? sizes.cp : 1);
  TRIREME_CHECK(
      sizes.moe_tp >= 1 && sizes.moe_ep >= 1 && std::int64_t{sizes.moe_tp} * sizes.moe_ep == ffn,
      "moe_tp=", sizes.moe_tp, " moe_ep=", sizes.moe_ep, " ffn=", ffn);
}

/// `count` ranks from `first` on, each `stride` after the one before.
std::vector<int> strided(int first, int stride, int count) {
  std::vector<int> ranks(count);
  for (int i = 0; i < count; ++i) ranks[i] = first + i * stride;
  return ranks;
}

}  // namespace

Sizes sizes_from(const config::ResolvedParallel& parallel) {
  return {.tp = parallel.tp,
          .pp = parallel.pp,
          .cp = parallel.cp,
          .dp = parallel.dp,
          .moe_tp = parallel.moe_tp,
          .moe_ep = parallel.moe_ep,
          .attention_dp = parallel.attention_dp,
          .helix = parallel.helix};
}

Topology::Topology(const Sizes& sizes) : sizes_(sizes) { check_sizes(sizes); }

Coordinates Topology::coordinates(int rank) const {
  TRIREME_CHECK(rank >= 0 && rank < sizes_.world(), "rank=", rank, " world=", sizes_.world());
  Coordinates at;
  at.tp = rank % sizes_.tp;
  at.cp = rank / sizes_.tp % sizes_.cp;
  at.pp = rank / (sizes_.tp * sizes_.cp) % sizes_.pp;
  at.dp = rank / (sizes_.tp * sizes_.cp * sizes_.pp);
  const int ffn = sizes_.helix ? at.cp * sizes_.tp + at.tp : at.tp;
  at.moe_ep = ffn % sizes_.moe_ep;
  at.moe_tp = ffn / sizes_.moe_ep;
  return at;
}

int Topology::rank_of(int dp, int pp, int cp, int tp) const {
  TRIREME_CHECK(dp >= 0 && dp < sizes_.dp && pp >= 0 && pp < sizes_.pp, "dp=", dp, " pp=", pp);
  TRIREME_CHECK(cp >= 0 && cp < sizes_.cp && tp >= 0 && tp < sizes_.tp, "cp=", cp, " tp=", tp);
  return ((dp * sizes_.pp + pp) * sizes_.cp + cp) * sizes_.tp + tp;
}

std::vector<int> Topology::group_ranks(Axis axis, int rank) const {
  const Coordinates at = coordinates(rank);
  const int stage = sizes_.tp * sizes_.cp;  // ranks of one pipeline stage
  const int ffn = sizes_.helix ? stage : sizes_.tp;
  const int ffn_begin = rank - rank % ffn;
  switch (axis) {
    case Axis::tp:
      return strided(rank - at.tp, 1, sizes_.tp);
    case Axis::cp:
      return strided(rank_of(at.dp, at.pp, 0, at.tp), sizes_.tp, sizes_.cp);
    case Axis::pp:
      return strided(rank_of(at.dp, 0, at.cp, at.tp), stage, sizes_.pp);
    case Axis::dp:
      return strided(rank_of(0, at.pp, at.cp, at.tp), stage * sizes_.pp, sizes_.dp);
    case Axis::ffn:
      return strided(ffn_begin, 1, ffn);
    case Axis::moe_ep:
      return strided(ffn_begin + at.moe_tp * sizes_.moe_ep, 1, sizes_.moe_ep);
    case Axis::moe_tp:
      return strided(ffn_begin + at.moe_ep, sizes_.moe_ep, sizes_.moe_tp);
    case Axis::sequence_group:
      // A column of the replica is evenly strided, since tp is the innermost coordinate.
      return sizes_.attention_dp ? strided(leader(rank), sizes_.tp, sizes_.pp * sizes_.cp)
                                 : strided(leader(rank), 1, sizes_.pp * stage);
  }
  fail(ErrorKind::internal, "a family of groups that group_ranks does not know");
}

int Topology::num_sequence_groups() const {
  return sizes_.attention_dp ? sizes_.dp * sizes_.tp : sizes_.dp;
}

int Topology::sequence_group_index(int rank) const {
  const Coordinates at = coordinates(rank);
  return sizes_.attention_dp ? at.dp * sizes_.tp + at.tp : at.dp;
}

int Topology::leader(int rank) const {
  const Coordinates at = coordinates(rank);
  return rank_of(at.dp, 0, 0, sizes_.attention_dp ? at.tp : 0);
}

LayerRange layers_of_stage(int num_layers, int num_stages, int stage,
                           const std::vector<int>& pipeline_layers) {
  TRIREME_CHECK(num_stages >= 1 && stage >= 0 && stage < num_stages, "stage=", stage);
  if (pipeline_layers.empty()) {
    const int even = num_layers / num_stages;
    const int one_more = num_layers % num_stages;
    const int begin = stage * even + (stage < one_more ? stage : one_more);
    return {begin, begin + even + (stage < one_more ? 1 : 0)};
  }
  TRIREME_CHECK(static_cast<int>(pipeline_layers.size()) == num_stages,
                "entries=", pipeline_layers.size(), " stages=", num_stages);
  LayerRange range;
  for (int i = 0; i <= stage; ++i) {
    range.begin = range.end;
    range.end += pipeline_layers[i];
  }
  TRIREME_CHECK(range.end <= num_layers, "end=", range.end, " layers=", num_layers);
  return range;
}

}  // namespace trireme::topology
