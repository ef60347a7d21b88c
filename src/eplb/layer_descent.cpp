#include "eplb/layer_descent.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "eplb/even_split.h"

namespace trireme::eplb {

namespace {

struct Swap {
  std::int32_t from = -1, to = -1;  // slots
  std::int64_t peak = 0;            // load of the heavier of the two ranks afterwards
};

/// Looks for a better exchange between the heaviest rank and another.
void try_swaps(const LayerState& state, std::int32_t heaviest, std::int32_t other, Swap& best) {
  const std::int64_t high = state.rank_load(heaviest), low = state.rank_load(other);
  // Whatever is exchanged, one of the two keeps at least half.
  if (other == heaviest || (high + low + 1) / 2 >= best.peak) return;
  const std::int32_t slots = state.shape().slots_per_rank;
  const std::int32_t from_begin = state.first_slot(heaviest), to_begin = state.first_slot(other);
  for (std::int32_t from = from_begin; from < from_begin + slots; ++from) {
    for (std::int32_t to = to_begin; to < to_begin + slots; ++to) {
      const std::int64_t less = state.slot_load(from) - state.slot_load(to);
      const std::int64_t peak = std::max(high - less, low + less);
      if (peak < best.peak && !state.swap_duplicates(from, to)) best = {from, to, peak};
    }
  }
}

std::vector<std::int32_t> lightest_ranks(const LayerState& state, std::int32_t count) {
  std::vector<std::int32_t> ranks(state.shape().num_ranks);
  std::iota(ranks.begin(), ranks.end(), 0);
  count = std::min(count, state.shape().num_ranks);
  std::ranges::partial_sort(ranks, ranks.begin() + count, [&](auto a, auto b) {
    const auto left = state.rank_load(a), right = state.rank_load(b);
    return left != right ? left < right : a < b;
  });
  ranks.resize(count);
  return ranks;
}

/// Shares the slots of two ranks anew if that makes the heavier one lighter.
bool repartition(LayerState& state, std::int32_t heavy, std::int32_t light) {
  std::vector<std::int32_t> slots;  // of experts that are not on both
  std::vector<std::int64_t> loads;
  std::int64_t fixed_heavy = 0, fixed_light = 0;
  const auto collect = [&](std::int32_t rank, std::int32_t other, std::int64_t& fixed) {
    const std::int32_t begin = state.first_slot(rank);
    for (std::int32_t slot = begin; slot < begin + state.shape().slots_per_rank; ++slot) {
      if (state.holds(other, state.expert_at(slot))) {
        fixed += state.slot_load(slot);
      } else {
        slots.push_back(slot);
        loads.push_back(state.slot_load(slot));
      }
    }
  };
  collect(heavy, light, fixed_heavy);
  collect(light, heavy, fixed_light);
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  // The first half stays on the heavy rank; both ranks would have (total + fixed) / 2.
  const std::int64_t wanted = (total + fixed_light - fixed_heavy) / 2;
  const std::vector<bool> stays = even_split(loads, wanted);
  std::int64_t kept = fixed_heavy;
  for (std::size_t item = 0; item < loads.size(); ++item) kept += stays[item] ? loads[item] : 0;
  const std::int64_t rest = fixed_heavy + fixed_light + total - kept;
  if (std::max(kept, rest) >= state.rank_load(heavy)) return false;
  const std::size_t half = slots.size() / 2;
  std::size_t incoming = half;
  for (std::size_t item = 0; item < half; ++item) {
    if (stays[item]) continue;
    while (!stays[incoming]) ++incoming;
    state.swap(slots[item], slots[incoming++]);
  }
  return true;
}

/// The lightest of what the heaviest touched rank can be after `slot` goes to `expert`.
struct Move {
  std::int64_t peak = 0;
  std::int32_t slot = -1, expert = -1;
};

std::int64_t peak_after(const LayerState& state, std::int32_t slot, std::int32_t expert) {
  const std::int32_t old = state.expert_at(slot), rank = state.rank_of(slot);
  const std::int64_t gained = state.share(expert, state.replicas(expert) + 1);
  const std::int64_t more = state.share(old, state.replicas(old) - 1) - state.slot_load(slot);
  std::int64_t peak = state.rank_load(rank) - state.slot_load(slot) + gained;
  for (const std::int32_t other : state.slots_of(old)) {
    if (other == slot) continue;
    const std::int32_t touched = state.rank_of(other);
    const std::int64_t less =
        state.holds(touched, expert) ? state.share(expert, state.replicas(expert)) - gained : 0;
    peak = std::max(peak, state.rank_load(touched) + more - less);
  }
  return peak;
}

std::vector<Move> promising_moves(const LayerState& state, std::size_t count) {
  const std::int32_t heaviest = state.heaviest_rank(), begin = state.first_slot(heaviest);
  std::vector<Move> moves;
  for (std::int32_t from = begin; from < begin + state.shape().slots_per_rank; ++from) {
    const std::int32_t expert = state.expert_at(from);
    if (state.slot_load(from) == 0) continue;
    for (std::int32_t slot = 0; slot < state.shape().num_slots(); ++slot) {
      const std::int32_t old = state.expert_at(slot);
      if (state.replicas(old) < 2 || old == expert || state.holds(state.rank_of(slot), expert)) {
        continue;
      }
      moves.push_back({peak_after(state, slot, expert), slot, expert});
    }
  }
  count = std::min(count, moves.size());
  std::ranges::partial_sort(
      moves, moves.begin() + static_cast<std::ptrdiff_t>(count), [](const Move& a, const Move& b) {
        return std::tie(a.peak, a.slot, a.expert) < std::tie(b.peak, b.slot, b.expert);
      });
  moves.resize(count);
  return moves;
}

}  // namespace

void descend_by_swaps(LayerState& state, std::int64_t goal) {
  while (true) {
    const std::int32_t heaviest = state.heaviest_rank();
    Swap best{.peak = state.rank_load(heaviest)};
    if (best.peak <= goal) return;
    try_swaps(state, heaviest, lightest_ranks(state, 1)[0], best);
    for (std::int32_t rank = 0; rank < state.shape().num_ranks; ++rank) {
      try_swaps(state, heaviest, rank, best);
    }
    if (best.from < 0) return;
    state.swap(best.from, best.to);
  }
}

bool repartition_heaviest(LayerState& state) {
  constexpr std::int32_t kMostSlots = 10, kPartners = 8;
  if (state.shape().slots_per_rank > kMostSlots) return false;
  const std::int32_t heaviest = state.heaviest_rank();
  for (const std::int32_t rank : lightest_ranks(state, kPartners)) {
    if (rank != heaviest && repartition(state, heaviest, rank)) return true;
  }
  return false;
}

bool move_replica(LayerState& state, std::int64_t goal) {
  constexpr std::size_t kTried = 24;
  const std::int64_t peak = state.max_load();
  LayerState best = state;
  std::int64_t best_peak = peak;
  for (const Move& move : promising_moves(state, kTried)) {
    LayerState tried = state;
    tried.retarget(move.slot, move.expert);
    descend_by_swaps(tried, goal);
    if (tried.max_load() >= best_peak) continue;
    best_peak = tried.max_load();
    best = std::move(tried);
  }
  if (best_peak == peak) return false;
  state = std::move(best);
  return true;
}

void descend(LayerState& state, std::int64_t goal, std::int64_t enough) {
  while (true) {
    descend_by_swaps(state, goal);
    if (state.max_load() <= goal) return;
    if (repartition_heaviest(state)) continue;
    if (state.max_load() <= enough || !move_replica(state, enough)) return;
  }
}

}  // namespace trireme::eplb
