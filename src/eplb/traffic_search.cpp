#include "eplb/traffic_search.h"

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "eplb/cooling.h"
#include "eplb/fixed_point.h"
#include "eplb/random.h"

namespace trireme::eplb {

namespace {

constexpr double kLog2 = 0.6931471805599453;

class NodeSearch {
  static constexpr double kFirst = 4e-3, kHalvings = 8;  // of the cost
  static constexpr double kFirstAgain = 3e-5, kHalvingsAgain = 2;
  // What a mean rank's load too much costs, as a part of the traffic: little at first, so that the
  // search can cross states out of balance, at last far more than any exchange gains.
  static constexpr double kFirstPenalty = 0.005, kPenaltyDoublings = 7;
  static constexpr double kLastPenalty = kFirstPenalty * (1 << 7);
  static constexpr double kMostGain = 5;  // in temperatures
  static constexpr std::int32_t kRetargetsOfEight = 1;

 public:
  NodeSearch(NodeState& state, const TokenSet& tokens, const Shape& shape,
             const NodeSearchOptions& options)
      : state_(state),
        tokens_(tokens),
        shape_(shape),
        slots_per_node_(shape.slots_per_rank * shape.ranks_per_node()),
        random_(options.seed),
        cooling_(scale() * (options.afresh ? kFirst : kFirstAgain),
                 options.afresh ? kHalvings : kHalvingsAgain, options.num_steps),
        penalty_(scale() * (options.afresh ? kFirstPenalty : kLastPenalty) /
                 static_cast<double>(kMeanLoad)),
        penalty_growth_(1) {
    if (options.num_steps > 0) {
      penalty_growth_ += kPenaltyDoublings * kLog2 / static_cast<double>(options.num_steps);
    }
    remember();
  }

  void run(std::int64_t num_steps) {
    for (std::int64_t step = 0; step < num_steps; ++step) {
      if (random_.below(8) < kRetargetsOfEight) {
        try_retarget();
      } else {
        try_swap();
      }
      cooling_.cool();
      penalty_ *= penalty_growth_;
    }
    go_back_to_best();
  }

 private:
  double scale() const { return static_cast<double>(std::max<std::int64_t>(state_.cost(), 1)); }
  std::int32_t node() { return random_.below(shape_.num_nodes); }
  std::int32_t place() { return random_.below(slots_per_node_); }

  void try_swap() {
    const std::int32_t from = node(), to = node(), place_from = place(), place_to = place();
    const std::int32_t expert = state_.experts(from)[place_from];
    const std::int32_t other = state_.experts(to)[place_to];
    if (expert == other || (from == to && !state_.minds_ranks())) return;
    if (from == to && place_from / shape_.slots_per_rank == place_to / shape_.slots_per_rank)
      return;
    if (!has_room(expert, to, place_to) || !has_room(other, from, place_from)) return;
    const NodeState::Change changes[] = {{from, place_from, other}, {to, place_to, expert}};
    decide(changes);
  }

  void try_retarget() {
    const std::int32_t at = node(), slot = place();
    const std::int32_t old = state_.experts(at)[slot];
    if (state_.replicas(old) < 2) return;
    const auto chosen = random_.below(static_cast<std::int32_t>(tokens_.experts.size()));
    const std::int32_t expert = tokens_.experts[chosen];  // often an expert that is in demand
    if (expert == old || !has_room(expert, at, slot)) return;
    const NodeState::Change changes[] = {{at, slot, expert}};
    decide(changes);
  }

  /// A rank should not get an expert twice.
  bool has_room(std::int32_t expert, std::int32_t to, std::int32_t at) const {
    return state_.minds_ranks() ? state_.copies_on_rank(expert, to, at) == 0
                                : state_.copies(expert, to) < shape_.ranks_per_node();
  }

  void decide(std::span<const NodeState::Change> changes) {
    // What no gain in traffic is likely to make up for is not worth counting tokens for.
    const double slack = kMostGain * cooling_.temperature() / penalty_;
    const auto effect =
        state_.propose(changes, state_.overload() + static_cast<std::int64_t>(slack));
    const double increase = static_cast<double>(effect.cost - state_.cost()) +
                            penalty_ * static_cast<double>(effect.overload - state_.overload());
    if (!effect.possible || !cooling_.accepts(increase, random_)) {
      state_.undo();
      return;
    }
    state_.keep();
    if (state_.overload() < best_overload_ ||
        (state_.overload() == best_overload_ && state_.cost() < best_cost_)) {
      remember();
    }
  }

  void remember() {
    best_cost_ = state_.cost();
    best_overload_ = state_.overload();
    best_.resize(shape_.num_nodes);
    for (std::int32_t each = 0; each < shape_.num_nodes; ++each) best_[each] = state_.experts(each);
  }

  void go_back_to_best() {
    std::vector<NodeState::Change> changes;
    for (std::int32_t each = 0; each < shape_.num_nodes; ++each) {
      for (std::int32_t slot = 0; slot < slots_per_node_; ++slot) {
        if (state_.experts(each)[slot] != best_[each][slot]) {
          changes.push_back({each, slot, best_[each][slot]});
        }
      }
    }
    if (changes.empty()) return;
    state_.propose(changes, std::numeric_limits<std::int64_t>::max());
    state_.keep();
  }

  NodeState& state_;
  const TokenSet& tokens_;
  Shape shape_;
  std::int32_t slots_per_node_;
  Random random_;
  Cooling cooling_;
  double penalty_, penalty_growth_;
  std::vector<std::vector<std::int32_t>> best_;  // [nodes][slots of a node]
  std::int64_t best_cost_ = 0, best_overload_ = 0;
};

}  // namespace

void search_nodes(NodeState& state, const TokenSet& tokens, const Shape& shape,
                  const NodeSearchOptions& options) {
  if (shape.num_nodes > 1) NodeSearch(state, tokens, shape, options).run(options.num_steps);
}

}  // namespace trireme::eplb
