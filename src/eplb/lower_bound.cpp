#include "eplb/lower_bound.h"

#include <numeric>
#include <vector>

#include "eplb/deepseek.h"
#include "eplb/fixed_point.h"

namespace trireme::eplb {

namespace {

/// Slots are counted in 2^-16: what fits beside a heavy replica may end with a part of a piece.
constexpr std::int64_t kSlot = 1 << 16;

std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

/// The lightest pieces there can be at a limit, to see how many fit into spare room.
class Pieces {
 public:
  /// Experts within half the limit are one piece, heavier ones the fewest pieces within it. More
  /// pieces would not help: each costs a slot and saves at most one.
  Pieces(std::span<const std::int64_t> loads, std::int64_t limit) {
    for (const std::int64_t load : loads) {
      const std::int64_t count = std::max<std::int64_t>(1, divide_up(2 * load, limit));
      sizes_.insert(sizes_.end(), count, load / count);
    }
    std::ranges::sort(sizes_);
    sums_.push_back(0);
    for (const std::int64_t size : sizes_) sums_.push_back(sums_.back() + size);
  }

  /// At most how many fit, rounded up to 2^-16.
  std::int64_t fitting(std::int64_t room) const {
    const auto next = std::ranges::upper_bound(sums_, room) - sums_.begin();
    const auto whole = next - 1;
    if (static_cast<std::size_t>(whole) == sizes_.size()) return whole * kSlot;
    const std::int64_t left = room - sums_[whole];
    // Sizes are below 2^46, so the product fits.
    return whole * kSlot + divide_up(left * kSlot, sizes_[whole]);
  }

 private:
  std::vector<std::int64_t> sizes_, sums_;
};

/// Fewest slots, in kSlot, that the experts need at a limit; over all ways to give heavy replicas
/// ranks of their own.
std::int64_t slots_needed(std::span<const std::int64_t> loads, const Shape& shape,
                          std::int64_t limit) {
  constexpr std::int64_t kNever = std::int64_t{1} << 60;
  const Pieces pieces(loads, limit);
  const std::int64_t slots = shape.slots_per_rank;
  std::int64_t light = 0;
  std::vector<std::int64_t> needed(shape.num_ranks + 1, kNever);  // by ranks with a heavy replica
  needed[0] = 0;
  for (const std::int64_t load : loads) {
    const std::int64_t small = divide_up(2 * load, limit);  // replicas if none is heavy
    if (small <= 1) {
      light += kSlot;
      continue;
    }
    auto next = needed;
    for (std::int64_t& value : next) value += small * kSlot;
    const std::int64_t most = std::min<std::int64_t>(small - 1, shape.num_ranks);
    for (std::int64_t heavy = divide_up(load, limit); heavy <= most; ++heavy) {
      const std::int64_t beside =
          std::min(heavy * (slots - 1) * kSlot, pieces.fitting(heavy * limit - load));
      const std::int64_t cost = heavy * slots * kSlot - beside;
      for (std::int64_t ranks = heavy; ranks <= shape.num_ranks; ++ranks) {
        next[ranks] = std::min(next[ranks], needed[ranks - heavy] + cost);
      }
    }
    needed = std::move(next);
  }
  return *std::ranges::min_element(needed) + light;
}

/// The largest limit found that cannot be kept; `start` if none is.
std::int64_t broken_limit(std::span<const std::int64_t> loads, const Shape& shape,
                          std::int64_t start) {
  constexpr int kHalvings = 15;
  const std::int64_t slots = std::int64_t{shape.num_slots()} * kSlot;
  const auto kept = [&](std::int64_t limit) { return slots_needed(loads, shape, limit) <= slots; };
  if (kept(start)) return start;
  std::int64_t low = start, step = start / 16 + 1;
  while (!kept(low + step)) {
    low += step;
    step *= 2;
  }
  std::int64_t high = low + step;
  for (int halving = 0; halving < kHalvings && high - low > 1; ++halving) {
    const std::int64_t middle = low + (high - low) / 2;
    (kept(middle) ? high : low) = middle;
  }
  return low;
}

}  // namespace

LowerBound lower_bound(std::span<const std::int64_t> loads, const Shape& shape) {
  const auto fixed = to_fixed_point(loads);
  const std::int64_t total = std::accumulate(fixed.begin(), fixed.end(), std::int64_t{0});
  if (total == 0) return {.replicas = 0, .packing = 1};
  const auto count = count_replicas(replicate_experts(fixed, shape.num_slots()), shape.num_experts);
  double heaviest = 0;
  std::int64_t limit = total / shape.num_ranks;
  for (std::size_t expert = 0; expert < fixed.size(); ++expert) {
    heaviest = std::max(heaviest, static_cast<double>(fixed[expert]) / count[expert]);
    limit = std::max(limit, fixed[expert] / count[expert]);
  }
  const double mean = static_cast<double>(total) / shape.num_ranks;
  LowerBound bound;
  bound.replicas = heaviest / mean;
  const std::int64_t broken = broken_limit(fixed, shape, limit + 1);
  bound.packing = std::max(1.0, bound.replicas);
  if (broken > limit + 1)
    bound.packing = std::max(bound.packing, static_cast<double>(broken) / mean);
  return bound;
}

}  // namespace trireme::eplb
