#include "eplb/incremental.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "eplb/fixed_point.h"
#include "eplb/layer_solver.h"
#include "eplb/layer_state.h"
#include "eplb/lower_bound.h"

namespace trireme::eplb {

namespace {

/// Targets on the way to lower ones: what helps the worst ranks most comes first.
constexpr std::array kStages{1.05};
/// Where no move helps the ranks above the target any more, lower ones are pressed too: parts of
/// the way from the lower bound to the target.
constexpr std::array kPressed{1.0, 0.7, 0.4, 0.1};
constexpr double kCloseEnough = 1.001;

/// An exchange of two slots, or (other < 0) a gift of a slot to an expert.
struct Move {
  std::int32_t slot = -1, other = -1, expert = -1;
  std::int64_t gain = 0;
  std::int32_t changes = 0;  // slots that then hold another expert than before, net

  /// More gain for a change; what costs nothing first.
  bool better_than(const Move& than) const {
    const std::int64_t mine = std::max(changes, 0), its = std::max(than.changes, 0);
    if (mine == 0 || its == 0) return mine != its ? mine < its : gain > than.gain;
    return gain * its > than.gain * mine;
  }
};

class Descent {
 public:
  Descent(std::span<const std::int32_t> old, std::span<const std::int64_t> units,
          const Shape& shape, std::int64_t most_changed)
      : state_(units, shape, {old.begin(), old.end()}),
        before_(state_),
        moved_(shape.num_slots(), 0),
        change_(shape.num_ranks, 0),
        most_changed_(most_changed) {}

  const LayerState& state() const { return state_; }

  /// Moves until no rank is above `target`, no move helps or no change is left. Ranks above
  /// `pressed`, at most the target, count as overloaded.
  void run(std::int64_t target, std::int64_t pressed) {
    pressed_ = pressed;
    while (state_.max_load() > target) {
      const Move best = best_move();
      if (best.gain <= 0) return;
      changed_ += best.changes;
      if (best.other >= 0) {
        state_.swap(best.slot, best.other);
      } else {
        state_.retarget(best.slot, best.expert);
      }
    }
  }

 private:
  std::int64_t cost(std::int64_t load) const {
    const std::int64_t over = std::clamp<std::int64_t>(load - pressed_, 0, 16 * kMeanLoad);
    return over * over;
  }

  /// What a rank's count of changed slots gains where it gives one expert for another.
  std::int32_t changes(std::int32_t rank, std::int32_t from, std::int32_t to) const {
    const bool loses = state_.replicas_on(rank, from) <= before_.replicas_on(rank, from);
    const bool regains = state_.replicas_on(rank, to) < before_.replicas_on(rank, to);
    return (loses ? 1 : 0) - (regains ? 1 : 0);
  }

  void consider(const Move& move, Move& best) const {
    if (move.gain <= 0 || changed_ + move.changes > most_changed_) return;
    if (best.gain <= 0 || move.better_than(best)) best = move;
  }

  Move best_move() {
    Move best;
    note_slots();
    // The heaviest rank first: its moves are hard to beat, so others need not be looked at closely.
    const std::int32_t heaviest = state_.heaviest_rank();
    try_rank(heaviest, best);
    for (std::int32_t rank = 0; rank < state_.shape().num_ranks; ++rank) {
      if (rank != heaviest && state_.rank_load(rank) > pressed_) try_rank(rank, best);
    }
    return best;
  }

  void note_slots() {
    redundant_.clear();
    for (std::int32_t slot = 0; slot < state_.shape().num_slots(); ++slot) {
      const std::int32_t rank = state_.rank_of(slot), expert = state_.expert_at(slot);
      moved_[slot] = state_.replicas_on(rank, expert) > before_.replicas_on(rank, expert);
      if (state_.replicas(expert) > 1) redundant_.push_back(slot);
    }
  }

  void try_rank(std::int32_t rank, Move& best) {
    for (std::int32_t other = 0; other < state_.shape().num_ranks; ++other) {
      if (other != rank) try_swaps(rank, other, best);
    }
    const std::int32_t begin = state_.first_slot(rank);
    for (std::int32_t slot = begin; slot < begin + state_.shape().slots_per_rank; ++slot) {
      try_gifts(state_.expert_at(slot), best);
    }
  }

  void try_swaps(std::int32_t rank, std::int32_t other_rank, Move& best) const {
    const std::int64_t load = state_.rank_load(rank), low = state_.rank_load(other_rank);
    if (low >= load) return;
    // No exchange gains more than making the two even; what changes a slot must beat the best by
    // that, what brings experts home need not.
    const std::int64_t most = cost(load) + cost(low) - 2 * cost((load + low) / 2);
    if (most <= 0) return;
    const bool only_home = best.changes > 0 && most <= best.gain / best.changes;
    const std::int32_t slots = state_.shape().slots_per_rank;
    const std::int32_t begin = state_.first_slot(rank), other = state_.first_slot(other_rank);
    for (std::int32_t slot = begin; slot < begin + slots; ++slot) {
      const bool all = !only_home || moved_[slot];
      for (std::int32_t with = other; with < other + slots; ++with) {
        if (all || moved_[with]) try_swap(slot, with, best);
      }
    }
  }

  void try_swap(std::int32_t slot, std::int32_t other, Move& best) const {
    const std::int64_t less = state_.slot_load(slot) - state_.slot_load(other);
    if (less <= 0) return;
    const std::int32_t rank = state_.rank_of(slot), other_rank = state_.rank_of(other);
    const std::int64_t load = state_.rank_load(rank), low = state_.rank_load(other_rank);
    Move move{.slot = slot, .other = other};
    move.gain = cost(load) + cost(low) - cost(load - less) - cost(low + less);
    if (move.gain <= 0) return;
    if (state_.swap_duplicates(slot, other)) return;
    const std::int32_t from = state_.expert_at(slot), to = state_.expert_at(other);
    move.changes = changes(rank, from, to) + changes(other_rank, to, from);
    consider(move, best);
  }

  /// Gives every slot in turn that is not the only one of its expert to this expert.
  void try_gifts(std::int32_t expert, Move& best) {
    const std::int64_t gain = relief(expert);
    const std::int64_t share = state_.share(expert, state_.replicas(expert) + 1);
    for (const std::int32_t slot : redundant_) {
      const std::int32_t old = state_.expert_at(slot), rank = state_.rank_of(slot);
      if (state_.holds(rank, expert)) continue;
      const std::int64_t load = state_.rank_load(rank);
      Move move{.slot = slot, .expert = expert};
      // At most: the ranks of the old expert's other replicas only become heavier.
      move.gain = gain + cost(load) - cost(load - state_.slot_load(slot) + share);
      if (move.gain <= 0) continue;
      move.changes = changes(rank, old, expert);
      if (best.gain > 0 && !move.better_than(best)) continue;
      move.gain = gift_gain(slot, expert);
      consider(move, best);
    }
  }

  /// What one more replica of an expert gains on the ranks that have it already.
  std::int64_t relief(std::int32_t expert) const {
    const std::int64_t share = state_.share(expert, state_.replicas(expert) + 1);
    std::int64_t gain = 0;
    for (const std::int32_t slot : state_.slots_of(expert)) {
      const std::int64_t load = state_.rank_load(state_.rank_of(slot));
      gain += cost(load) - cost(load + share - state_.slot_load(slot));
    }
    return gain;
  }

  std::int64_t gift_gain(std::int32_t slot, std::int32_t expert) {
    const std::int32_t old = state_.expert_at(slot);
    const std::int64_t share = state_.share(expert, state_.replicas(expert) + 1);
    const std::int64_t old_share = state_.share(old, state_.replicas(old) - 1);
    touched_.clear();
    for (const std::int32_t replica : state_.slots_of(expert)) {
      add(state_.rank_of(replica), share - state_.slot_load(replica));
    }
    for (const std::int32_t replica : state_.slots_of(old)) {
      add(state_.rank_of(replica),
          replica == slot ? share - state_.slot_load(slot) : old_share - state_.slot_load(replica));
    }
    std::int64_t gain = 0;
    for (const std::int32_t rank : touched_) {
      const std::int64_t load = state_.rank_load(rank);
      gain += cost(load) - cost(load + change_[rank]);
      change_[rank] = 0;
    }
    return gain;
  }

  void add(std::int32_t rank, std::int64_t load) {
    if (std::ranges::find(touched_, rank) == touched_.end()) touched_.push_back(rank);
    change_[rank] += load;
  }

  LayerState state_;
  const LayerState before_;
  std::vector<std::int32_t> redundant_;  // slots of experts with several
  std::vector<char> moved_;              // [slots] its expert was not on the rank before
  std::vector<std::int32_t> touched_;
  std::vector<std::int64_t> change_;  // [ranks]
  std::int64_t most_changed_, changed_ = 0, pressed_ = 0;
};

std::int64_t mean_units(double balance) {
  return static_cast<std::int64_t>(balance * static_cast<double>(kMeanLoad));
}

}  // namespace

std::vector<std::int32_t> rebalance(std::span<const std::int32_t> old,
                                    std::span<const std::int64_t> loads, const Shape& shape,
                                    const RebalanceLimits& limits) {
  const LowerBound bound = lower_bound(loads, shape);
  const double least = bound.balance() * kCloseEnough;
  const auto units = to_mean_units(loads, shape.num_ranks);
  const double target = std::max(limits.target, least);
  Descent descent(old, units, shape, limits.most_changed);
  for (const double stage : kStages) {
    if (stage > target) descent.run(mean_units(stage), mean_units(stage));
  }
  for (const double pressed : kPressed) {
    descent.run(mean_units(target), mean_units(least + (target - least) * pressed));
  }
  auto placed = keep_slots(old, descent.state().expert_of_slot(), shape.slots_per_rank);
  if (descent.state().max_load() <= mean_units(target)) return placed;
  // Where single moves are stuck, a new placement is the way out, if that many may change.
  Random random(0);
  auto fresh = keep_slots(old, solve_layer(loads, shape, bound, {}, random), shape.slots_per_rank);
  const bool allowed = count_changed(old, fresh) <= limits.most_changed;
  const bool better =
      balance(loads, fresh, shape.num_ranks) < balance(loads, placed, shape.num_ranks);
  return allowed && better ? fresh : placed;
}

std::vector<std::int32_t> keep_slots(std::span<const std::int32_t> old,
                                     std::span<const std::int32_t> placed,
                                     std::int32_t slots_per_rank) {
  TRIREME_CHECK(old.size() == placed.size(), old.size(), " and ", placed.size(), " slots");
  std::vector<std::int32_t> kept(placed.size(), -1);
  for (std::size_t begin = 0; begin < placed.size(); begin += slots_per_rank) {
    std::map<std::int32_t, std::int32_t> left;  // expert -> replicas without a slot yet
    for (std::int32_t at = 0; at < slots_per_rank; ++at) ++left[placed[begin + at]];
    for (std::int32_t at = 0; at < slots_per_rank; ++at) {
      const auto found = left.find(old[begin + at]);
      if (found == left.end() || found->second == 0) continue;
      kept[begin + at] = found->first;
      --found->second;
    }
    std::size_t next = begin;
    for (std::int32_t at = 0; at < slots_per_rank; ++at) {
      const std::int32_t expert = placed[begin + at];
      if (left[expert] == 0) continue;
      --left[expert];
      while (kept[next] >= 0) ++next;
      kept[next] = expert;
    }
  }
  return kept;
}

std::int64_t count_changed(std::span<const std::int32_t> old,
                           std::span<const std::int32_t> placed) {
  TRIREME_CHECK(old.size() == placed.size(), old.size(), " and ", placed.size(), " slots");
  std::int64_t changed = 0;
  for (std::size_t slot = 0; slot < old.size(); ++slot) changed += old[slot] != placed[slot];
  return changed;
}

}  // namespace trireme::eplb
