#pragma once

#include <string>
#include <vector>

namespace trireme::config {
struct ResolvedParallel;
}

namespace trireme::topology {

/// The resolved sizes of a job's groups; all at least 1.
struct Sizes {
  int tp = 1, pp = 1, cp = 1, dp = 1;
  int moe_tp = 1, moe_ep = 1;  ///< moe_tp × moe_ep = tp (cp_type helix: tp × cp)
  bool attention_dp = false;
  bool helix = false;

  int world() const { return tp * pp * cp * dp; }
};

/// The sizes that a resolved configuration gives.
Sizes sizes_from(const config::ResolvedParallel& parallel);

/// Families of groups; every family partitions the world.
enum class Axis { tp, cp, pp, dp, moe_tp, moe_ep, ffn, sequence_group };

/// Where a rank stands. rank = ((dp·PP + pp)·CP + cp)·TP + tp.
struct Coordinates {
  int dp = 0, pp = 0, cp = 0, tp = 0;
  int moe_tp = 0, moe_ep = 0;

  bool operator==(const Coordinates&) const = default;
};

/// Pure integers: rank <-> coordinates and the members of every group (DESIGN section 2).
class Topology {
 public:
  /// TRIREME_CHECKs that the sizes fit each other and that the world fits an int.
  explicit Topology(const Sizes& sizes);

  const Sizes& sizes() const { return sizes_; }
  Coordinates coordinates(int rank) const;
  int rank_of(int dp, int pp, int cp, int tp) const;

  /// The world ranks of `rank`'s group along an axis, ascending. `ffn` is the family that the
  /// experts span: the tp group, with helix the TP·CP ranks of a stage. Example: 8 ranks, TP2 PP2
  /// CP2: group_ranks(Axis::cp, 3) = {1, 3}.
  std::vector<int> group_ranks(Axis axis, int rank) const;

  /// Number of sequence groups (ranks that work on the same sequences) and the index of `rank`'s.
  int num_sequence_groups() const;
  int sequence_group_index(int rank) const;
  /// The member of `rank`'s sequence group that plans for it.
  int leader(int rank) const;
  bool is_leader(int rank) const { return leader(rank) == rank; }

 private:
  Sizes sizes_;
};

/// Layers of a pipeline stage, half-open: `pipeline_layers` if given, else even with the first
/// (num_layers mod num_stages) stages one more.
struct LayerRange {
  int begin = 0, end = 0;
};
LayerRange layers_of_stage(int num_layers, int num_stages, int stage,
                           const std::vector<int>& pipeline_layers);

}  // namespace trireme::topology
