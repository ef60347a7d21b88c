#include "eplb/layer_start.h"

#include <algorithm>
#include <numeric>
#include <queue>

#include "base/error.h"

namespace trireme::eplb {

namespace {

/// Experts, heaviest first.
std::vector<std::int32_t> by_load(std::span<const std::int64_t> loads) {
  std::vector<std::int32_t> order(loads.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return loads[a] > loads[b]; });
  return order;
}

/// Ranks that are being filled.
class Filling {
 public:
  explicit Filling(const Shape& shape)
      : shape_(shape), experts_(shape.num_ranks), loads_(shape.num_ranks, 0) {}

  void place(std::int32_t expert, std::int64_t load) {
    std::int32_t lightest = -1;
    for (std::int32_t rank = 0; rank < shape_.num_ranks; ++rank) {
      if (full(rank) || holds(rank, expert)) continue;
      if (lightest < 0 || loads_[rank] < loads_[lightest]) lightest = rank;
    }
    if (lightest < 0) {
      make_room(expert, load);
      return;
    }
    add(lightest, expert, load);
  }

  std::vector<std::int32_t> expert_of_slot() const {
    std::vector<std::int32_t> slots;
    for (const auto& held : experts_) {
      for (const Replica& replica : held) slots.push_back(replica.expert);
    }
    return slots;
  }

 private:
  struct Replica {
    std::int32_t expert;
    std::int64_t load;
  };

  bool full(std::int32_t rank) const {
    return static_cast<std::int32_t>(experts_[rank].size()) == shape_.slots_per_rank;
  }
  bool holds(std::int32_t rank, std::int32_t expert) const {
    return std::ranges::any_of(experts_[rank],
                               [&](const Replica& held) { return held.expert == expert; });
  }
  void add(std::int32_t rank, std::int32_t expert, std::int64_t load) {
    experts_[rank].push_back({expert, load});
    loads_[rank] += load;
  }

  /// Every rank with room has the expert: one of them takes a replica from a rank that has not.
  /// There is one, since an expert has at most one replica a rank.
  void make_room(std::int32_t expert, std::int64_t load) {
    std::int32_t roomy = 0;
    while (full(roomy)) ++roomy;
    for (std::int32_t rank = 0; rank < shape_.num_ranks; ++rank) {
      if (holds(rank, expert)) continue;
      for (Replica& moved : experts_[rank]) {
        if (holds(roomy, moved.expert)) continue;
        add(roomy, moved.expert, moved.load);
        loads_[rank] += load - moved.load;
        moved = {expert, load};
        return;
      }
    }
    fail(ErrorKind::internal, cat("expert ", expert, " has more replicas than ranks"));
  }

  const Shape& shape_;
  std::vector<std::vector<Replica>> experts_;  // [ranks][filled slots]
  std::vector<std::int64_t> loads_;            // [ranks]
};

}  // namespace

std::vector<std::int32_t> choose_replicas(std::span<const std::int64_t> loads, const Shape& shape) {
  TRIREME_CHECK(shape.slots_per_rank <= shape.num_experts, shape.slots_per_rank);
  std::vector<std::int32_t> count(loads.size(), 1);
  const auto lighter = [&](std::int32_t a, std::int32_t b) {
    const std::int64_t left = loads[a] * count[b], right = loads[b] * count[a];
    if (left != right) return left < right;
    return count[a] != count[b] ? count[a] > count[b] : a > b;
  };
  std::vector<std::int32_t> experts(loads.size());
  std::iota(experts.begin(), experts.end(), 0);
  std::priority_queue<std::int32_t, std::vector<std::int32_t>, decltype(lighter)> heaviest(lighter,
                                                                                           experts);
  for (std::int32_t left = shape.num_slots() - shape.num_experts; left > 0;) {
    const std::int32_t expert = heaviest.top();
    heaviest.pop();
    if (count[expert] == shape.num_ranks) continue;
    ++count[expert];
    --left;
    heaviest.push(expert);
  }
  return count;
}

std::vector<std::int32_t> start_placement(std::span<const std::int64_t> loads, const Shape& shape) {
  const auto count = choose_replicas(loads, shape);
  std::vector<std::int64_t> shares;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    shares.push_back(loads[expert] / count[expert]);
  }
  Filling filling(shape);
  for (const std::int32_t expert : by_load(shares)) {
    for (std::int32_t replica = 0; replica < count[expert]; ++replica) {
      filling.place(expert, shares[expert]);
    }
  }
  return filling.expert_of_slot();
}

std::vector<std::int32_t> full_placement(std::span<const std::int64_t> loads, const Shape& shape) {
  const auto order = by_load(loads);
  std::vector<std::int32_t> slots;
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    slots.push_back(order[slot % shape.slots_per_rank % shape.num_experts]);
  }
  return slots;
}

}  // namespace trireme::eplb
