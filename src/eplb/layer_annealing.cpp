#include "eplb/layer_annealing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "eplb/fixed_point.h"

namespace trireme::eplb {

namespace {

/// -ln of a uniform number, in 2^-10: rounded, so that the last bit of log() does not matter.
std::int64_t exponential(std::uint64_t bits) {
  static const auto table = [] {
    std::array<std::int64_t, 1024> values{};
    for (std::size_t at = 0; at < values.size(); ++at) {
      const double uniform = (static_cast<double>(at) + 0.5) / static_cast<double>(values.size());
      values[at] = std::lround(-std::log(uniform) * 1024);
    }
    return values;
  }();
  return table[bits % table.size()];
}

class Annealer {
 public:
  Annealer(LayerState& state, std::int64_t target, Random& random)
      : state_(state),
        random_(random),
        target_(target),
        place_(state.shape().num_ranks, -1),
        change_(state.shape().num_ranks, 0) {
    for (std::int32_t rank = 0; rank < state.shape().num_ranks; ++rank) update(rank);
  }

  bool done() const { return over_.empty(); }

  void step(std::int64_t temperature) {
    const std::uint64_t bits = random_.next();
    const std::int64_t allowed = (temperature * exponential(bits >> 8)) >> 10;
    if ((bits & 7) < 6) {
      try_swap(bits & 8, allowed);
    } else {
      try_retarget(bits & 8, allowed);
    }
  }

 private:
  /// More than 16 times the mean is as bad as 16 times, so that sums stay in range.
  std::int64_t cost(std::int64_t load) const {
    const std::int64_t over = std::clamp<std::int64_t>(load - target_, 0, 16 * kMeanLoad);
    return over * over;
  }

  std::int32_t any_slot(bool from_overloaded) {
    const std::uint64_t bits = random_.next();
    const auto pick = [](std::uint64_t word, std::int64_t count) {
      return static_cast<std::int32_t>(((word & 0xFFFFFFFFU) * static_cast<std::uint64_t>(count)) >>
                                       32);
    };
    if (!from_overloaded) return pick(bits, state_.shape().num_slots());
    const std::int32_t rank = over_[pick(bits, static_cast<std::int64_t>(over_.size()))];
    return state_.first_slot(rank) + pick(bits >> 32, state_.shape().slots_per_rank);
  }

  void try_swap(bool from_overloaded, std::int64_t allowed) {
    const std::int32_t a = any_slot(from_overloaded), b = any_slot(false);
    const std::int32_t rank_a = state_.rank_of(a), rank_b = state_.rank_of(b);
    const std::int64_t less = state_.slot_load(a) - state_.slot_load(b);
    if (rank_a == rank_b || less == 0) return;
    const std::int64_t load_a = state_.rank_load(rank_a), load_b = state_.rank_load(rank_b);
    const std::int64_t worse =
        cost(load_a - less) + cost(load_b + less) - cost(load_a) - cost(load_b);
    if (worse > allowed || state_.swap_duplicates(a, b)) return;
    state_.swap(a, b);
    update(rank_a);
    update(rank_b);
  }

  void try_retarget(bool from_overloaded, std::int64_t allowed) {
    const std::int32_t slot = any_slot(false), rank = state_.rank_of(slot);
    const std::int32_t old = state_.expert_at(slot);
    if (state_.replicas(old) < 2) return;
    const std::int32_t expert = state_.expert_at(any_slot(from_overloaded));
    if (state_.holds(rank, expert)) return;
    touched_.clear();
    touch(expert, state_.share(expert, state_.replicas(expert) + 1));
    touch(old, state_.share(old, state_.replicas(old) - 1));
    add(rank, state_.share(expert, state_.replicas(expert) + 1) -
                  state_.share(old, state_.replicas(old) - 1));
    std::int64_t worse = 0;
    for (const std::int32_t other : touched_) {
      const std::int64_t load = state_.rank_load(other);
      worse += cost(load + change_[other]) - cost(load);
      change_[other] = 0;
    }
    if (worse > allowed) return;
    state_.retarget(slot, expert);
    for (const std::int32_t other : touched_) update(other);
  }

  /// Notes what the ranks of an expert would gain if each replica had this share.
  void touch(std::int32_t expert, std::int64_t share) {
    for (const std::int32_t slot : state_.slots_of(expert)) {
      add(state_.rank_of(slot), share - state_.slot_load(slot));
    }
  }

  void add(std::int32_t rank, std::int64_t load) {
    if (std::ranges::find(touched_, rank) == touched_.end()) touched_.push_back(rank);
    change_[rank] += load;
  }

  /// Keeps the list of ranks above the target.
  void update(std::int32_t rank) {
    const bool over = state_.rank_load(rank) > target_;
    if (over == (place_[rank] >= 0)) return;
    if (over) {
      place_[rank] = static_cast<std::int32_t>(over_.size());
      over_.push_back(rank);
    } else {
      over_[place_[rank]] = over_.back();
      place_[over_.back()] = place_[rank];
      over_.pop_back();
      place_[rank] = -1;
    }
  }

  LayerState& state_;
  Random& random_;
  std::int64_t target_;
  std::vector<std::int32_t> over_, place_;  // ranks above the target; [ranks] where in the list
  std::vector<std::int32_t> touched_;
  std::vector<std::int64_t> change_;  // [ranks]
};

}  // namespace

bool anneal(LayerState& state, const AnnealingRound& round, Random& random) {
  constexpr std::int64_t kStepsAtOnce = 64;
  Annealer annealer(state, round.target, random);
  const std::int64_t first = (kMeanLoad * kMeanLoad) >> round.start_bits;
  for (std::int64_t step = 0; step < round.steps && !annealer.done(); step += kStepsAtOnce) {
    const std::int64_t at = step * round.octaves;
    const std::int64_t high = first >> (at / round.steps);  // straight lines between the halvings
    const std::int64_t temperature = high - high / 2 / round.steps * (at % round.steps);
    for (std::int64_t more = 0; more < kStepsAtOnce && !annealer.done(); ++more) {
      annealer.step(temperature);
    }
  }
  return annealer.done();
}

}  // namespace trireme::eplb
